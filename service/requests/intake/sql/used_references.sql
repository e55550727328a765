-- Part of the same statements: the external references that are in use by the API key. OFFSET 0 as in open_requests.
SELECT clock_timestamp(), pg_postmaster_start_time(), NULL, NULL, NULL, n.api_key, NULL, NULL, NULL, NULL, n.reference
FROM unnest(CAST(:reference_keys AS uuid[]), CAST(:references AS text[])) AS n(api_key, reference)
CROSS JOIN LATERAL (
    SELECT 1
    FROM requests
    WHERE external_reference = n.reference AND submitted_by = n.api_key
    OFFSET 0
) AS r
