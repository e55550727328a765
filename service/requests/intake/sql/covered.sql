-- Part of the statements that read what is known before an insertion: the clock, and the open requests. At least one
-- row is returned, because the clock is needed in any case.
SELECT clock_timestamp() AS now, pg_postmaster_start_time() AS server_started_at, o.*, CAST(NULL AS uuid) AS api_key,
    CAST(NULL AS text) AS key, CAST(NULL AS bytea) AS fingerprint, CAST(NULL AS jsonb) AS receipt,
    CAST(NULL AS bool) AS remembered, CAST(NULL AS text) AS reference
FROM (SELECT 1) AS one
LEFT JOIN (
    -- include open_requests
) AS o ON true
