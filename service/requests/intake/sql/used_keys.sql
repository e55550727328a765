-- Part of the same statements: the Idempotency-Keys that were used before. OFFSET 0 as in open_requests.
SELECT clock_timestamp(), pg_postmaster_start_time(), NULL, NULL, NULL, n.api_key, n.key, k.fingerprint, k.receipt,
    k.remembered, NULL
FROM unnest(CAST(:api_keys AS uuid[]), CAST(:keys AS text[])) AS n(api_key, key)
CROSS JOIN LATERAL (
    SELECT fingerprint, receipt, expires_at > clock_timestamp() AS remembered
    FROM idempotency_keys
    WHERE api_key_id = n.api_key AND key = n.key
    OFFSET 0
) AS k
