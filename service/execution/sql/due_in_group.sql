-- Part of heads, oldest_due, due_of_all_queues and due_of_one_queue: due steps of one group g, unless its import is paused.
-- The clock is a sub-select, because a volatile function isn't looked up in an index. Whether an import is paused is asked
-- once per group.
SELECT s.id, s.fair_queue, s.respond_by, s.due_at
FROM steps s
WHERE s.system = :s
    AND s.phase = g.phase
    AND s.fair_queue = g.fair_queue
    AND s.respond_by = g.respond_by
    AND s.state IN ('due', 'accepted')
    AND s.batch_id IS NULL
    AND s.due_at <= (SELECT clock_timestamp())
    AND g.fair_queue NOT IN (
        -- include service.requests.imports/halted_imports
    )
ORDER BY s.due_at
