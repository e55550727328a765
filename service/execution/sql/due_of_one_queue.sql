-- Due steps of one phase and one queue, for a system whose batches hold one data subject.
-- The same loose scan of the partial index as in heads.sql; its comments explain the form of the conditions.
WITH RECURSIVE fresh_group AS (
    SELECT f.phase, f.fair_queue, f.respond_by
    FROM unnest(ARRAY[CAST(:p AS text)]) AS p(phase)
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
SELECT i.*, clock_timestamp() AS now
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
    LIMIT :n
) AS i
WHERE g.fair_queue = :fair_queue
LIMIT :n
