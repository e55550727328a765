-- Add heads of new objects, as rows of PostgreSQL's binary form that the client sends (service.store.bulk_copy).
COPY audit_heads (object, object_id, version, digest) FROM STDIN (FORMAT BINARY)
