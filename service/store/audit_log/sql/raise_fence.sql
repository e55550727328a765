-- Let leaves and nodes only grow again, in the transaction of lower_fence.sql. Two statements, no parameters.
ALTER TABLE audit_leaves ENABLE TRIGGER only_grows;
ALTER TABLE audit_nodes ENABLE TRIGGER only_grows
