-- Part of heads and oldest_due: due steps in open batches of one group g, as in due_in_group.sql, without their order.
SELECT s.phase, s.due_at, s.batch_id
FROM steps s
WHERE s.system = :s
    AND s.fair_queue = g.fair_queue
    AND s.respond_by = g.respond_by
    AND s.state IN ('due', 'accepted')
    AND s.batch_id IS NOT NULL
    AND s.due_at <= (SELECT clock_timestamp())
    AND g.fair_queue NOT IN (
        -- include service.requests.imports/halted_imports
    )
