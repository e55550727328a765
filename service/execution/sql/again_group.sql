-- Part of heads and oldest_due: the groups (fair_queue, respond_by) of due steps in an open batch.
-- A loose scan of ix_steps_again, as in fresh_group.sql.
again_group AS (
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
