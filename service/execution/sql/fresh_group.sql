-- Part of heads, oldest_due, due_of_all_queues and due_of_one_queue: the groups (phase, fair_queue, respond_by) of due steps
-- without a batch, of the phases :phases.
-- A loose scan of ix_steps_fresh: one index probe a group; a DISTINCT over the steps would read all of them. The conditions
-- are those of the partial index word by word, because it couldn't be used otherwise.
fresh_group AS (
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
)
