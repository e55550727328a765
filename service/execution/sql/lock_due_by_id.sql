-- The selected steps that are still due and in no batch, locked. They are locked by primary key first and tested afterwards:
-- with the state beside it the planner takes the partial index of due steps for empty (measured).
WITH locked AS MATERIALIZED (
    SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted,
        effect_possible, effect_at, version, entry_hash, nullif(erased, '{}') AS erased, state, due_at, fair_queue,
        batch_id
    FROM steps
    WHERE id = ANY(CAST(:ids AS uuid[]))
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted, effect_possible,
    effect_at, version, entry_hash, erased, clock_timestamp() AS now
FROM locked
WHERE state IN ('due', 'accepted')
    AND due_at <= clock_timestamp()
    AND fair_queue NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
    AND batch_id IS NULL
    AND phase = :p
