-- Due steps of one phase for a new batch, from every queue: of each queue as many as there is room for, in the order of its
-- groups; then within half a batch from one bulk submission first, the urgent ones first, by time left.
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
SELECT c.*, clock_timestamp() AS now
FROM (
    SELECT d.*, row_number() OVER (PARTITION BY d.fair_queue ORDER BY d.respond_by, d.due_at) AS place
    FROM (
        SELECT DISTINCT fair_queue
        FROM fresh_group
    ) AS l
    CROSS JOIN LATERAL (
        SELECT i.*
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
        WHERE g.fair_queue = l.fair_queue
        LIMIT :n
    ) AS d
) AS c
ORDER BY (c.fair_queue NOT IN ('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND c.place > :half),
    c.fair_queue <> '00000000-0000-0000-0000-000000000000', c.respond_by, c.due_at
LIMIT :n
