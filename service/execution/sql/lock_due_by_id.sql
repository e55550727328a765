-- The selected steps that are still due and in no batch, locked. They are locked by primary key first and tested afterwards:
-- with the state beside it the planner takes the partial index of due steps for empty (measured).
WITH locked AS MATERIALIZED (
    -- include columns_for_lease
    WHERE id = ANY(CAST(:ids AS uuid[]))
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
-- include still_due
    AND batch_id IS NULL
    AND phase = :p
