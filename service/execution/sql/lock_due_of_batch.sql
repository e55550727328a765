-- The due steps of a batch that was leased before, locked. They are locked by batch first and tested afterwards: with the
-- state beside it the planner takes the partial index of due steps for empty and filters thousands of rows (measured).
WITH locked AS MATERIALIZED (
    -- include columns_for_lease
    WHERE batch_id = :b
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
-- include still_due
ORDER BY id
LIMIT CAST(:n AS bigint)
