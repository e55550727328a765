-- Pick the requests whose identities are searched next: by time left, and at most :half of :n from one import first.
--
-- A loose scan of ix_requests_identify (lane, respond_by, due_at): one probe for each queue and deadline, then at most
-- :n rows of each, so that a hundred thousand imported requests cost no more than one. Requests of a paused or
-- cancelled import are passed over with their queue. Locks nothing: the lease locks what was picked.
-- The literal 'identify' is the condition of the partial index.
WITH RECURSIVE line AS (
    (
        SELECT r.lane, r.respond_by FROM requests r
        WHERE r.duty = 'identify'
        ORDER BY r.lane, r.respond_by LIMIT 1
    )
    UNION ALL
    SELECT n.lane, n.respond_by
    FROM line g
    CROSS JOIN LATERAL (
        SELECT r.lane, r.respond_by FROM requests r
        WHERE r.duty = 'identify' AND (r.lane, r.respond_by) > (g.lane, g.respond_by)
        ORDER BY r.lane, r.respond_by LIMIT 1
    ) AS n
)
SELECT c.id
FROM (
    SELECT d.*, row_number() OVER (PARTITION BY d.lane ORDER BY d.respond_by, d.due_at) AS place
    FROM (SELECT DISTINCT lane FROM line) AS l
    CROSS JOIN LATERAL (
        SELECT i.*
        FROM line g
        CROSS JOIN LATERAL (
            SELECT r.id, r.lane, r.respond_by, r.due_at FROM requests r
            WHERE r.duty = 'identify' AND r.lane = g.lane AND r.respond_by = g.respond_by
                AND r.due_at <= (SELECT clock_timestamp())
                AND g.lane NOT IN (SELECT id FROM imports WHERE state IN ('paused', 'cancelling'))
                AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
            ORDER BY r.due_at LIMIT :n
        ) AS i
        WHERE g.lane = l.lane LIMIT :n
    ) AS d
) AS c
ORDER BY
    (c.lane NOT IN (CAST(:urgent AS uuid), CAST(:single AS uuid)) AND c.place > :half),
    c.lane <> CAST(:urgent AS uuid),
    c.respond_by,
    c.due_at
LIMIT :n
