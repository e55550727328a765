-- Part of lock_due_by_id and lock_due_of_batch: the locked steps that are still due, unless their import is paused.
SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted,
    effect_possible, effect_at, version, entry_hash, erased, clock_timestamp() AS now
FROM locked
WHERE state IN ('due', 'accepted')
    AND due_at <= clock_timestamp()
    AND fair_queue NOT IN (
        -- include service.requests.imports/halted_imports
    )
