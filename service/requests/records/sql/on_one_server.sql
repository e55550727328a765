-- Part of the statements that write new requests. The division fails, and the statement with it, on another server than
-- the one for which the data keys were made (key_store.create_new).
SELECT 1 / CAST(pg_postmaster_start_time() = :server AS integer)
