-- The same, if a submission has a reference.
-- include covered
UNION ALL
-- include used_references
