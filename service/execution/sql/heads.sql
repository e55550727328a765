-- The heads of the queues of due steps in one system: of each phase and queue without a batch, and of each queue of open
-- batches, the row that may be leased first.
-- The groups (phase, fair_queue, respond_by) are found by a loose scan of the two partial indexes of due steps, one index probe a
-- group; a DISTINCT over the steps would read all of them. The conditions are those of the partial indexes word by word,
-- because they couldn't be used otherwise, and the clock is a sub-select, because a volatile function isn't looked up in an
-- index. Whether an import is paused is asked once per group.
-- A batch is free if no worker holds it, and if none of its steps is leased: giving its lease back would hide the steps of
-- a dead worker from the sweep. OFFSET 0: as a join, planned while nothing was leased, it would read every leased step.
WITH RECURSIVE fresh_group AS (
    SELECT f.phase, f.fair_queue, f.respond_by
    FROM unnest(CAST(:phases AS text[])) AS p(phase)
    CROSS JOIN LATERAL (
        SELECT s.phase, s.fair_queue, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.phase = p.phase
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NULL
        ORDER BY s.fair_queue, s.respond_by
        LIMIT 1
    ) AS f
    UNION ALL
    SELECT n.phase, n.fair_queue, n.respond_by
    FROM fresh_group g
    CROSS JOIN LATERAL (
        SELECT s.phase, s.fair_queue, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.phase = g.phase
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NULL
            AND (s.fair_queue, s.respond_by) > (g.fair_queue, g.respond_by)
        ORDER BY s.fair_queue, s.respond_by
        LIMIT 1
    ) AS n
), again_group AS (
    (
        SELECT s.fair_queue, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NOT NULL
        ORDER BY s.fair_queue, s.respond_by
        LIMIT 1
    )
    UNION ALL
    SELECT n.fair_queue, n.respond_by
    FROM again_group g
    CROSS JOIN LATERAL (
        SELECT s.fair_queue, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NOT NULL
            AND (s.fair_queue, s.respond_by) > (g.fair_queue, g.respond_by)
        ORDER BY s.fair_queue, s.respond_by
        LIMIT 1
    ) AS n
) (
    SELECT DISTINCT ON (g.phase, g.fair_queue) g.phase, g.fair_queue, g.respond_by, d.due_at, CAST(NULL AS uuid) AS batch_id
    FROM fresh_group g
    CROSS JOIN LATERAL (
        SELECT s.id, s.fair_queue, s.respond_by, s.due_at
        FROM steps s
        WHERE s.system = :s
            AND s.phase = g.phase
            AND s.fair_queue = g.fair_queue
            AND s.respond_by = g.respond_by
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NULL
            AND s.due_at <= (SELECT clock_timestamp())
            AND g.fair_queue NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
        ORDER BY s.due_at
        LIMIT 1
    ) AS d
    ORDER BY g.phase, g.fair_queue, g.respond_by
)
UNION ALL (
    SELECT DISTINCT ON (g.fair_queue) d.phase, g.fair_queue, g.respond_by, d.due_at, d.batch_id
    FROM again_group g
    CROSS JOIN LATERAL (
        SELECT s.phase, s.due_at, s.batch_id
        FROM steps s
        WHERE s.system = :s
            AND s.fair_queue = g.fair_queue
            AND s.respond_by = g.respond_by
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NOT NULL
            AND s.due_at <= (SELECT clock_timestamp())
            AND g.fair_queue NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
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
