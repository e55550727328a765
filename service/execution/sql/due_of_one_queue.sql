-- Due steps of one phase and one queue, for a system whose batches hold one data subject.
-- The same loose scan of the partial index as in heads.sql; its comments explain the form of the conditions.
WITH RECURSIVE fresh_group AS (
    SELECT f.phase, f.lane, f.respond_by
    FROM unnest(ARRAY[CAST(:p AS text)]) AS p(phase)
    CROSS JOIN LATERAL (
        SELECT s.phase, s.lane, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.phase = p.phase
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NULL
        ORDER BY s.lane, s.respond_by
        LIMIT 1
    ) AS f
    UNION ALL
    SELECT n.phase, n.lane, n.respond_by
    FROM fresh_group g
    CROSS JOIN LATERAL (
        SELECT s.phase, s.lane, s.respond_by
        FROM steps s
        WHERE s.system = :s
            AND s.phase = g.phase
            AND s.state IN ('due', 'accepted')
            AND s.batch_id IS NULL
            AND (s.lane, s.respond_by) > (g.lane, g.respond_by)
        ORDER BY s.lane, s.respond_by
        LIMIT 1
    ) AS n
)
SELECT i.*, clock_timestamp() AS now
FROM fresh_group g
CROSS JOIN LATERAL (
    SELECT s.id, s.lane, s.respond_by, s.due_at
    FROM steps s
    WHERE s.system = :s
        AND s.phase = g.phase
        AND s.lane = g.lane
        AND s.respond_by = g.respond_by
        AND s.state IN ('due', 'accepted')
        AND s.batch_id IS NULL
        AND s.due_at <= (SELECT clock_timestamp())
        AND g.lane NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
    ORDER BY s.due_at
    LIMIT :n
) AS i
WHERE g.lane = :lane
LIMIT :n
