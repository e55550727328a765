-- What is true around locked steps of one system, read behind their locks, so that a decision that comes later finds the
-- result recorded: requests that are withdrawn or not approved, requests in which an earlier system isn't done yet, and
-- requests of which another step is due while none waits for its turn.
-- A step in its erasing call may be verified in the same lease, so it is asked as well whether it would have to wait.
SELECT clock_timestamp() AS now, (
    SELECT state <> 'active'
    FROM systems
    WHERE name = :system
) AS is_removed, r.*, o.*
FROM (
    SELECT array_agg(id) FILTER (WHERE state = ANY(CAST(:withdrawn AS text[]))) AS withdrawn,
        array_agg(id) FILTER (WHERE reason = :unapproved) AS unapproved
    FROM requests
    WHERE id = ANY(CAST(:requests AS uuid[]))
) AS r, (
    SELECT array_agg(a.request_id) FILTER (WHERE e.waits) AS waiting,
        array_agg(a.request_id) FILTER (WHERE e.is_due AND NOT e.in_turn) AS left_to_others
    FROM unnest(CAST(:asking AS uuid[]), CAST(:positions AS integer[])) AS a(request_id, position)
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(position < a.position AND ended_at IS NULL AND phase <> 'confirm'), false) AS waits,
            coalesce(bool_or(state = 'due' AND plan_version IS NOT NULL AND NOT waits_for_order), false) AS is_due,
            coalesce(bool_or(waits_for_order OR reason = 'earlier_system_first'), false) AS in_turn
        FROM steps
        WHERE request_id = a.request_id
    ) AS e
) AS o
