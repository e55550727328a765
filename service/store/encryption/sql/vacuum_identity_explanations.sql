-- Remove dead rows (vacuum.py). TRUNCATE FALSE: without the exclusive lock that shortening the file would take.
VACUUM (TRUNCATE FALSE) identity_explanations
