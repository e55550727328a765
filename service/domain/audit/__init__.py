"""Rules of the audit log: entries, Merkle tree, signed notes, replay, selection.

Decides what an entry may say and what proves it. Doesn't store entries (`service.store.audit_log`). Start at
`entry.py`.
"""
