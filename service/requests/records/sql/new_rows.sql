-- Part of the statements that write new requests: their rows, audit entries and identifiers.
--
-- A row may have to wait for another transaction that writes the same reference or Idempotency-Key, and all rows of the
-- statement wait with it; :patience limits that. `how` sets the limit, and the other parts read from it, so that it is
-- set before the first row. A request's scopes come as one text, because an array has no arrays of different lengths;
-- no scope has a comma. The rows are in the order of the unique constraint, so that two statements with the same
-- references don't wait for each other in a circle.
WITH how AS MATERIALIZED (
    SELECT set_config('lock_timeout', coalesce(:patience, current_setting('lock_timeout')), true)
),
r AS (
    INSERT INTO requests (
        id, subject, kind, scopes, regime, state, reason, next_action, due_at, received_at, created_at,
        acknowledge_by, respond_by, external_reference, submitted_by, import_id, import_line, import_fingerprint, duplicate_of,
        entry_hash, version
    )
    SELECT
        id, subject, kind, string_to_array(scopes, ','), regime, state, reason, next_action, due_at, received_at,
        created_at, acknowledge_by, respond_by, external_reference, submitted_by, import_id, import_line, import_fingerprint, duplicate_of,
        entry_hash, 1
    FROM how,
        unnest(
            CAST(:id AS uuid[]), CAST(:subject AS text[]), CAST(:kind AS text[]), CAST(:scopes AS text[]),
            CAST(:regime AS text[]), CAST(:state AS text[]), CAST(:reason AS text[]), CAST(:next_action AS text[]),
            CAST(:due_at AS timestamptz[]), CAST(:received_at AS timestamptz[]),
            CAST(:created_at AS timestamptz[]), CAST(:acknowledge_by AS timestamptz[]),
            CAST(:respond_by AS timestamptz[]), CAST(:external_reference AS text[]),
            CAST(:submitted_by AS uuid[]), CAST(:import_id AS uuid[]), CAST(:import_line AS integer[]),
            CAST(:import_fingerprint AS bytea[]), CAST(:duplicate_of AS uuid[]), CAST(:entry_hash AS bytea[])
        ) AS n(
            id, subject, kind, scopes, regime, state, reason, next_action, due_at, received_at, created_at,
            acknowledge_by, respond_by, external_reference, submitted_by, import_id, import_line,
            import_fingerprint, duplicate_of, entry_hash
        )
    ORDER BY external_reference, submitted_by
),
e AS (
    INSERT INTO audit_pending (entry)
    SELECT entry FROM unnest(CAST(:entries AS bytea[])) WITH ORDINALITY AS n(entry, place) ORDER BY place
),
i AS (
    INSERT INTO identifiers (id, request_id, origin, kind, sealed, keyed_hash, verification_method, verified_at)
    SELECT id, request_id, 'submitted', kind, sealed, hash, method, verified_at
    FROM unnest(
        CAST(:i_ids AS uuid[]), CAST(:i_requests AS uuid[]), CAST(:i_kinds AS text[]), CAST(:i_sealed AS bytea[]),
        CAST(:i_hashes AS bytea[]), CAST(:i_methods AS text[]), CAST(:i_verified AS timestamptz[])
    ) AS n(id, request_id, kind, sealed, hash, method, verified_at)
)
