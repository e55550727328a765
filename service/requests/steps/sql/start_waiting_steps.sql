-- Steps that wait for earlier systems of their request, and whose earlier systems have all had their effect.
-- The same condition as EarlierSystemsDone in service/domain/execution/decide.py.
-- The waiting steps are locked first, by id, in the order of every other lock on steps; only then the others are read.
WITH waiting AS MATERIALIZED (
    SELECT id, request_id, position
    FROM steps
    WHERE request_id = ANY(CAST(:ids AS uuid[]))
        AND due_at > :now
        AND (state = 'due' AND waits_for_order OR state = 'accepted' AND reason = 'earlier_system_first')
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE steps s
SET due_at = :now, waits_for_order = false
FROM waiting w
WHERE s.id = w.id
    AND NOT EXISTS (
        SELECT 1
        FROM steps
        WHERE request_id = w.request_id
            AND position < w.position
            AND ended_at IS NULL
            AND phase <> 'confirm'
    )
