-- The same, if one of the submissions has an Idempotency-Key and one has a reference.
-- include covered
UNION ALL
-- include used_keys
UNION ALL
-- include used_references
