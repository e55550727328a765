-- Pick the requests whose identities are searched next: by time left, and at most :half of :n from one import first.
--
-- A loose scan of ix_requests_identify (fair_queue, respond_by, due_at): one probe for each queue and deadline, then
-- at most :n rows of each, so that 100,000 imported requests cost no more than one. Requests of a paused or cancelled
-- import are skipped with their queue. Locks nothing, because the lease locks the rows that were picked.
-- The literal 'identify' is the condition of the partial index.
WITH RECURSIVE queues AS (
    (
        SELECT r.fair_queue, r.respond_by FROM requests r
        WHERE r.next_action = 'identify'
        ORDER BY r.fair_queue, r.respond_by LIMIT 1
    )
    UNION ALL
    SELECT n.fair_queue, n.respond_by
    FROM queues g
    CROSS JOIN LATERAL (
        SELECT r.fair_queue, r.respond_by FROM requests r
        WHERE r.next_action = 'identify' AND (r.fair_queue, r.respond_by) > (g.fair_queue, g.respond_by)
        ORDER BY r.fair_queue, r.respond_by LIMIT 1
    ) AS n
)
SELECT c.id
FROM (
    SELECT d.*, row_number() OVER (PARTITION BY d.fair_queue ORDER BY d.respond_by, d.due_at) AS place
    FROM (SELECT DISTINCT fair_queue FROM queues) AS l
    CROSS JOIN LATERAL (
        SELECT i.*
        FROM queues g
        CROSS JOIN LATERAL (
            SELECT r.id, r.fair_queue, r.respond_by, r.due_at FROM requests r
            WHERE r.next_action = 'identify' AND r.fair_queue = g.fair_queue AND r.respond_by = g.respond_by
                AND r.due_at <= (SELECT clock_timestamp())
                AND g.fair_queue NOT IN (
                    -- include service.requests.imports/halted_imports
                )
                AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
            ORDER BY r.due_at LIMIT :n
        ) AS i
        WHERE g.fair_queue = l.fair_queue LIMIT :n
    ) AS d
) AS c
ORDER BY
    (c.fair_queue NOT IN (CAST(:urgent AS uuid), CAST(:single AS uuid)) AND c.place > :half),
    c.fair_queue <> CAST(:urgent AS uuid),
    c.respond_by,
    c.due_at
LIMIT :n
