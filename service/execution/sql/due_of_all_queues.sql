-- Due steps of one phase for a new batch, from every queue: of each queue as many as there is room for, in the order of its
-- groups; then within half a batch from one bulk submission first, the urgent ones first, by time left.
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
SELECT c.*, clock_timestamp() AS now
FROM (
    SELECT d.*, row_number() OVER (PARTITION BY d.lane ORDER BY d.respond_by, d.due_at) AS place
    FROM (
        SELECT DISTINCT lane
        FROM fresh_group
    ) AS l
    CROSS JOIN LATERAL (
        SELECT i.*
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
        WHERE g.lane = l.lane
        LIMIT :n
    ) AS d
) AS c
ORDER BY (c.lane NOT IN ('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND c.place > :half),
    c.lane <> '00000000-0000-0000-0000-000000000000', c.respond_by, c.due_at
LIMIT :n
