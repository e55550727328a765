-- Ids of up to :n due and accepted steps of removed systems. One half for each of the two partial indexes of due steps.
SELECT d.id
FROM systems y
CROSS JOIN LATERAL (
    (
        SELECT id
        FROM steps
        WHERE system = y.name
            AND state IN ('due', 'accepted')
            AND batch_id IS NULL
        LIMIT :n
    )
    UNION ALL
    (
        SELECT id
        FROM steps
        WHERE system = y.name
            AND state IN ('due', 'accepted')
            AND batch_id IS NOT NULL
        LIMIT :n
    )
) AS d
WHERE y.state = 'removed'
LIMIT :n
