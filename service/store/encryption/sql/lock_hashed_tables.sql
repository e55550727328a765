-- Keep everybody else out of the tables with keyed hashes until this transaction ends: those of HASHES and HASH_ARRAYS
-- in pepper_versions.py. SQLAlchemy has no expression.
LOCK TABLE identifiers, suppression_entries, hold_hashes, reappearances, idempotency_keys, requests, steps
IN ACCESS EXCLUSIVE MODE
