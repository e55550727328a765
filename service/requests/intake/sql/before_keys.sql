-- The same, if a submission has an Idempotency-Key.
-- include covered
UNION ALL
-- include used_keys
