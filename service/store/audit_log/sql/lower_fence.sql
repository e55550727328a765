-- Allow this transaction to remove leaves and nodes (pruned.py). ALTER TABLE locks both tables until its end, and is
-- undone with it. Two statements, no parameters.
ALTER TABLE audit_leaves DISABLE TRIGGER only_grows;
ALTER TABLE audit_nodes DISABLE TRIGGER only_grows
