-- The scopes in force for identifiers with these hashes, each with the time of its earliest entry that wasn't removed.
--
-- OFFSET 0 and the aggregate keep one look into the primary key for each hash, as in list_entries.sql: a check must not
-- cost more because the list is longer. The hashes are distinct; a hash without entries has no row.
SELECT h.hash, e.scope, e.since
FROM unnest(CAST(:hashes AS bytea[])) AS h(hash)
CROSS JOIN LATERAL (
    SELECT scope, min(added_at) AS since
    FROM suppression_entries
    WHERE keyed_hash = h.hash AND removed_at IS NULL
    GROUP BY scope
    OFFSET 0
) AS e
