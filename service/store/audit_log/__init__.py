"""Tables of the audit log: pending entries, tree, checkpoints, signing keys, pruned ranges.

Decides how entries and tree nodes are stored. Doesn't decide when a checkpoint is signed (`service.audit`). Start at
`record_change.py`, which every change of state calls.
"""
