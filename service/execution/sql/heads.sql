-- The heads of the queues of due steps in one system: of each phase and queue without a batch, and of each queue of open
-- batches, the row that may be leased first.
-- A batch is free if no worker holds it, and if none of its steps is leased: giving its lease back would hide the steps of
-- a dead worker from the sweep. OFFSET 0: as a join, planned while nothing was leased, it would read every leased step.
WITH RECURSIVE
-- include fresh_group
,
-- include again_group
(
    SELECT DISTINCT ON (g.phase, g.fair_queue) g.phase, g.fair_queue, g.respond_by, d.due_at, CAST(NULL AS uuid) AS batch_id
    FROM fresh_group g
    CROSS JOIN LATERAL (
        -- include due_in_group
        LIMIT 1
    ) AS d
    ORDER BY g.phase, g.fair_queue, g.respond_by
)
UNION ALL (
    SELECT DISTINCT ON (g.fair_queue) d.phase, g.fair_queue, g.respond_by, d.due_at, d.batch_id
    FROM again_group g
    CROSS JOIN LATERAL (
        -- include due_in_open_batch
            AND EXISTS (
                SELECT 1
                FROM batches b
                WHERE b.id = s.batch_id
                    AND b.ended_at IS NULL
                    AND (b.lease_until IS NULL OR b.lease_until <= clock_timestamp())
            )
            AND NOT EXISTS (
                SELECT 1
                FROM steps t
                WHERE t.batch_id = s.batch_id
                    AND t.state = 'leased' OFFSET 0
            )
        ORDER BY s.due_at
        LIMIT 1
    ) AS d
    ORDER BY g.fair_queue, g.respond_by
)
