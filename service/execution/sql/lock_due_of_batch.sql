-- The due steps of a batch that was leased before, locked. They are locked by batch first and tested afterwards: with the
-- state beside it the planner takes the partial index of due steps for empty and filters thousands of rows (measured).
-- NULL instead of '{}' for erased: the column is usually empty, and psycopg parses every JSON value that isn't NULL.
WITH locked AS MATERIALIZED (
    SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted,
        effect_possible, effect_at, version, entry_hash, nullif(erased, '{}') AS erased, state, due_at, fair_queue
    FROM steps
    WHERE batch_id = :b
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT id, request_id, phase, attempts, consecutive_attempts, respond_by, plan_version, records, records_accepted, effect_possible,
    effect_at, version, entry_hash, erased, clock_timestamp() AS now
FROM locked
WHERE state IN ('due', 'accepted')
    AND due_at <= clock_timestamp()
    AND fair_queue NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
ORDER BY id
LIMIT CAST(:n AS bigint)
