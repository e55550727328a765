-- True if more steps of this phase may come: a request is being searched, or a step of the system is in an earlier phase, in a
-- leased batch of one, or due a little later. Each branch is one probe of a partial index.
SELECT EXISTS (
    SELECT 1
    FROM requests
    WHERE next_action = 'freeze'
) OR EXISTS (
    SELECT 1
    FROM steps s
    WHERE s.system = :s
        AND s.phase = ANY(CAST(:earlier AS text[]))
        AND s.state IN ('due', 'accepted')
        AND s.batch_id IS NULL
) OR EXISTS (
    SELECT 1
    FROM batches b
    WHERE b.system = :s
        AND b.ended_at IS NULL
        AND b.lease_until > (SELECT clock_timestamp())
        AND b.phase = ANY(CAST(:earlier AS text[]))
) OR EXISTS (
    SELECT 1
    FROM steps s
    WHERE s.system = :s
        AND s.phase = :p
        AND s.state IN ('due', 'accepted')
        AND s.batch_id IS NULL
        AND s.due_at > (SELECT clock_timestamp())
)
