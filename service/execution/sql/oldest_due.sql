-- For how many seconds the step that waits longest could have been leased.
WITH RECURSIVE
-- include fresh_group
,
-- include again_group
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8
FROM (
    SELECT d.due_at
    FROM fresh_group g
    CROSS JOIN LATERAL (
        -- include due_in_group
        LIMIT 1
    ) AS d
    UNION ALL
    SELECT d.due_at
    FROM again_group g
    CROSS JOIN LATERAL (
        -- include due_in_open_batch
        ORDER BY s.due_at
        LIMIT 1
    ) AS d
) AS due
