-- For how many seconds the step that waits longest could have been leased.
-- The same loose scan of the partial indexes as in heads.sql; its comments explain the form of the conditions.
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
)
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8
FROM (
    SELECT d.due_at
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
    UNION ALL
    SELECT d.due_at
    FROM again_group g
    CROSS JOIN LATERAL (
        SELECT s.due_at
        FROM steps s
        WHERE s.system = :s
            AND s.fair_queue = g.fair_queue
            AND s.respond_by = g.respond_by
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NOT NULL
            AND s.due_at <= (SELECT clock_timestamp())
            AND g.fair_queue NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
        ORDER BY s.due_at
        LIMIT 1
    ) AS d
) AS due
