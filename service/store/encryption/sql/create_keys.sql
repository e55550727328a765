-- Insert data keys under an epoch that must still be current; an owner that has a key keeps it.
--
-- `epoch` is the fence of key_epochs.py: it is read in the statement that writes, so that nothing is written under a
-- retired epoch. MATERIALIZED, because it must be evaluated once for all rows.
WITH epoch AS MATERIALIZED (
    SELECT 1 FROM key_epochs WHERE id = CAST(:epoch AS uuid) AND state = 'current'
)
INSERT INTO data_keys (owner, wrapped, wrapping_key_id)
SELECT o, w, :epoch FROM epoch, unnest(CAST(:owners AS text[]), CAST(:wrapped AS bytea[])) AS t(o, w)
ON CONFLICT (owner) DO NOTHING
