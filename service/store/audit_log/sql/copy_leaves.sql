-- Append leaves, as rows of PostgreSQL's binary form that the client sends (service.store.bulk_copy).
COPY audit_leaves (index, entry, leaf_hash, subject) FROM STDIN (FORMAT BINARY)
