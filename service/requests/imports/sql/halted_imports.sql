-- Part of the statements that pick due work: the imports whose work is stopped. `cancelling`: unfinished requests are being
-- revoked. The states are literals, because ix_imports_halted has them in its condition.
SELECT id
FROM imports
WHERE state IN ('paused', 'cancelling')
