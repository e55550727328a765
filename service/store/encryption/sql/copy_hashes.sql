-- Add pairs of an old and a new hash, as rows of PostgreSQL's binary form that the client sends (bulk_copy).
COPY hashes_brought_up (old, new) FROM STDIN (FORMAT BINARY)
