"""Sign the head of the log, and only if it is the last signed head with entries added.

A log must never sign two inconsistent heads. Before signing: the stored tree still gives the last signed root, every
entry since then is hashed anew from its bytes, the stored nodes give the same new root, and the consistency proof for a
witness holds. Entries before the last checkpoint are not hashed again here; the export does that.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from service.domain.audit.merkle import GrowingTree, is_consistent, leaf_hash
from service.domain.audit.signed_note import Checkpoint, SigningKey
from service.domain.audit.signed_note import sign_checkpoint as signed_note_of
from service.store.audit_log.checkpoints import StoredCheckpoint, add_checkpoint
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.tree import consistency_proof, stored_root, stored_tree
from service.store.execute import execute
from service.store.tables.audit import AuditLeaf

_ENTRIES_SINCE = (
    select(AuditLeaf.index.label("place"), AuditLeaf.entry, AuditLeaf.leaf_hash)
    .where(AuditLeaf.index >= bindparam("start"), AuditLeaf.index < bindparam("end"))
    .order_by(AuditLeaf.index)
)
_CHUNK = 1_000


def sign_checkpoint(
    connection: Connection,
    signing_key: SigningKey,
    last: StoredCheckpoint | None,
    before: GrowingTree,
    tree: GrowingTree,
) -> str:
    """Store and return the note over `tree`; the last note if the log hasn't grown since.

    `before` is the stored tree as this transaction found it, `tree` the same with the entries that the transaction
    added, hashed from their bytes. Runs in the sequencer's transaction, under its lock. Raises AuditLogBroken.
    """
    known = _tree_at(connection, last)
    _grow_from_bytes(connection, known, before.size)
    size, root = tree.size, tree.root()
    if known.peaks != before.peaks or stored_root(connection, size) != root:
        raise AuditLogBroken("stored_nodes_differ", f"size {size}")
    if last is None:
        return _sign(connection, signing_key, Checkpoint(signing_key.trusted.name, size, root))
    signed = last.checkpoint
    proof = consistency_proof(connection, signed.size, size)
    if not is_consistent(signed.size, signed.root, size, root, proof):
        raise AuditLogBroken("inconsistent_with_signed", f"from {signed.size} to {size}")
    if signed.size == size:
        return last.note
    return _sign(connection, signing_key, Checkpoint(signed.origin, size, root))


def _tree_at(connection: Connection, last: StoredCheckpoint | None) -> GrowingTree:
    if last is None:
        return GrowingTree.empty()
    tree = stored_tree(connection, last.checkpoint.size)
    if tree.root() != last.checkpoint.root:
        raise AuditLogBroken("signed_root_differs", f"size {last.checkpoint.size}")
    return tree


def _grow_from_bytes(connection: Connection, tree: GrowingTree, size: int) -> None:
    while tree.size < size:
        span = {"start": tree.size, "end": min(size, tree.size + _CHUNK)}
        rows = execute(connection, _ENTRIES_SINCE, span).all()
        if [row.place for row in rows] != list(range(span["start"], span["end"])):
            raise AuditLogBroken("index_missing", f"between {span['start']} and {span['end']}")
        for row in rows:
            leaf = leaf_hash(bytes(row.entry))
            if leaf != bytes(row.leaf_hash):
                raise AuditLogBroken("leaf_hash_differs", f"leaf {row.place}")
            tree.append(leaf)


def _sign(connection: Connection, signing_key: SigningKey, checkpoint: Checkpoint) -> str:
    note = signed_note_of(signing_key, checkpoint.size, checkpoint.root)
    add_checkpoint(connection, checkpoint, note)
    return note
