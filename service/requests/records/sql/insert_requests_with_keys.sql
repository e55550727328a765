-- As insert_requests, and the Idempotency-Keys of the requests that have one. It is a statement of its own, because
-- most requests have none and an empty part costs time, too. The keys are in the order of their primary key, like the
-- references.
-- include new_rows
,
k AS (
    INSERT INTO idempotency_keys (api_key_id, key, fingerprint, receipt, request_id, expires_at)
    SELECT n.*
    FROM how,
        unnest(
            CAST(:k_api_keys AS uuid[]), CAST(:k_keys AS text[]), CAST(:k_fingerprints AS bytea[]),
            CAST(:k_receipts AS jsonb[]), CAST(:k_requests AS uuid[]), CAST(:k_expires AS timestamptz[])
        ) AS n(api_key_id, key, fingerprint, receipt, request_id, expires_at)
    ORDER BY api_key_id, key
)
-- include on_one_server
