"""The audit log's life: sequence pending entries, sign and anchor checkpoints, prune, replay.

Decides when an entry enters the Merkle tree and which checkpoint is published. Doesn't decide what an entry says
(`service.domain.audit`) nor how rows are stored (`service.store.audit_log`). Start at `sequence.py`.
"""
