-- Part of lock_due_by_id and lock_due_of_batch: the columns of a step that its lease reads or tests.
-- NULL instead of '{}' for erased: the column is usually empty, and psycopg parses every JSON value that isn't NULL.
SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted,
    effect_possible, effect_at, version, entry_hash, nullif(erased, '{}') AS erased, state, due_at, fair_queue, batch_id
FROM steps
