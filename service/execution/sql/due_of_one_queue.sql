-- Due steps of one phase and one queue, for a system whose batches hold one data subject.
WITH RECURSIVE
-- include fresh_group
SELECT i.*, clock_timestamp() AS now
FROM fresh_group g
CROSS JOIN LATERAL (
    -- include due_in_group
    LIMIT :n
) AS i
WHERE g.fair_queue = :fair_queue
LIMIT :n
