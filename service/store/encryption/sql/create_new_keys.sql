-- Insert data keys whose owners are new, under an epoch that must still be current. Returns the number of rows made.
--
-- `epoch` is the fence of key_epochs.py: it is read in the statement that writes, so that nothing is written under a
-- retired epoch. Both WITH queries are MATERIALIZED because they must be evaluated once, and `how` before the first row:
-- it sets synchronous_commit for this transaction. On the server that the caller's own transaction uses, the commit of
-- that transaction makes this one durable as well: a server writes one log. The server is known by its start, which no
-- two servers share to the microsecond.
WITH epoch AS MATERIALIZED (
    SELECT 1 FROM key_epochs WHERE id = CAST(:epoch AS uuid) AND state = 'current'
), how AS MATERIALIZED (
    SELECT set_config(
        'synchronous_commit',
        CASE WHEN pg_postmaster_start_time() = CAST(:server AS timestamptz) THEN 'off'
            ELSE current_setting('synchronous_commit') END,
        true
    )
), made AS (
    INSERT INTO data_keys (owner, wrapped, wrapping_key_id)
    SELECT o, w, :epoch FROM how, epoch, unnest(CAST(:owners AS text[]), CAST(:wrapped AS bytea[])) AS t(o, w)
    RETURNING 1
)
SELECT count(*) AS made FROM made
