-- Due steps of one phase for a new batch, from every queue: of each queue as many as there is room for, in the order of its
-- groups; then within half a batch from one bulk submission first, the urgent ones first, by time left.
WITH RECURSIVE
-- include fresh_group
SELECT c.id, c.fair_queue, c.respond_by, c.due_at, clock_timestamp() AS now
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
            -- include due_in_group
            LIMIT :n
        ) AS i
        WHERE g.fair_queue = l.fair_queue
        LIMIT :n
    ) AS d
) AS c
ORDER BY (c.fair_queue NOT IN ('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND c.place > :half),
    c.fair_queue <> '00000000-0000-0000-0000-000000000000', c.respond_by, c.due_at
LIMIT :n
