-- Append nodes, as rows of PostgreSQL's binary form that the client sends (service.store.bulk_copy).
COPY audit_nodes (level, index, hash) FROM STDIN (FORMAT BINARY)
