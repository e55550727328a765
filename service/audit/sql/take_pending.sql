-- Take the oldest pending entries out of their table: at most :most of those that weren't refused.
--
-- By ctid, so that one scan of the index finds all rows and each is then read where it lies, without one look-up of the
-- index per row. A row that another transaction changes meanwhile has another ctid afterwards, and is taken next time.
DELETE FROM audit_pending WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM audit_pending WHERE refused IS NULL ORDER BY id LIMIT :most
)) RETURNING id, entry, created_at
