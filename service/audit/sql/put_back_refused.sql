-- Put entries back that the sequencer took and refused, as rows of PostgreSQL's binary form (service.store.bulk_copy).
COPY audit_pending (id, entry, created_at, refused) FROM STDIN (FORMAT BINARY)
