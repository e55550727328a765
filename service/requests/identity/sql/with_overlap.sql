-- Which of these requests share an identifier with another unfinished erasure that is resolved or came earlier.
--
-- The identifiers are found by their hash first (OFFSET 0 keeps the loop over the index): planned as one join, all
-- unfinished requests were read once for each of these hashes.
WITH met AS MATERIALIZED (
    SELECT own.id, i.request_id, i.verification_method, i.origin
    FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[])) AS own(id, hash)
    CROSS JOIN LATERAL (
        SELECT request_id, verification_method, origin
        FROM identifiers
        WHERE keyed_hash = own.hash AND request_id <> own.id AND use IN ('planned', 'pending')
        OFFSET 0
    ) AS i
)
SELECT DISTINCT met.id
FROM met
JOIN requests me ON me.id = met.id
JOIN requests r ON r.id = met.request_id AND r.kind = 'erasure' AND r.state IN ('open', 'in_progress') AND r.duplicate_of IS NULL
WHERE r.located_until IS NOT NULL
    OR (
        (r.created_at, r.id) < (me.created_at, me.id)
        AND (met.verification_method IS NOT NULL OR met.origin = 'graph')
    )
