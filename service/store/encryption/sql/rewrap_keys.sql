-- Replace wrapped data keys by the same keys under an epoch that must still be current.
--
-- `epoch` is the fence of key_epochs.py: it is read in the statement that writes, so that nothing is written under a
-- retired epoch. MATERIALIZED, because it must be evaluated once for all rows.
WITH epoch AS MATERIALIZED (
    SELECT 1 FROM key_epochs WHERE id = CAST(:epoch AS uuid) AND state = 'current'
)
UPDATE data_keys SET wrapped = t.w, wrapping_key_id = :epoch
FROM epoch, unnest(CAST(:owners AS text[]), CAST(:wrapped AS bytea[])) AS t(o, w)
WHERE owner = t.o
