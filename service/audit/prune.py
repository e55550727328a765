"""Remove the oldest entries of the log after their retention; the remaining ones stay verifiable.

Decides how many: up to the first entry that is younger than the retention, or of a request that isn't sealed yet. The
bytes of the prefix are hashed once more, and must have the signed root. The roots of the prefix's perfect subtrees
stay, because the inclusion proofs and heads of the remaining entries need them. The removed entries themselves can't be
proven any more, except by an export that was made before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection, Engine, bindparam, select

from service.audit.sequence import checkpoint_everything, lock_sequencer
from service.domain.audit.entry import NotAuditable, decode_entry
from service.domain.audit.merkle import GrowingTree, LeafRange, leaf_hash, perfect_subtrees
from service.domain.audit.signed_note import SigningKey
from service.domain.errors import Invalid
from service.store.audit_log.checkpoints import last_checkpoint
from service.store.audit_log.findings import AuditLogBroken, keep_findings
from service.store.audit_log.pruned import pruned_prefix, remember_pruned, remove_prefix
from service.store.audit_log.record_change import log_event
from service.store.audit_log.tree import stored_root, stored_tree
from service.store.execute import execute
from service.store.locking import database_now, set_local
from service.store.tables.audit import AuditLeaf
from service.store.tables.requests import RequestRow

_LEAVES = (
    select(AuditLeaf.index.label("place"), AuditLeaf.entry, AuditLeaf.subject)
    .where(AuditLeaf.index >= bindparam("start"), AuditLeaf.index < bindparam("end"))
    .order_by(AuditLeaf.index)
)
_UNFINISHED = select(RequestRow.subject).where(RequestRow.sealed_at.is_(None))
_CHUNK = 1_000


@dataclass(frozen=True)
class Pruning:
    """How many entries were removed now, and how many of the log's first entries are gone in all."""

    removed: int
    size: int


def prune_audit(engine: Engine, signing_key: SigningKey, *, retention: timedelta, operator: str) -> Pruning:
    """Remove the entries whose retention is over, and log that.

    Raises Invalid, AuditLogBroken (nothing is removed then).
    """
    checkpoint_everything(engine, signing_key)
    try:
        with engine.begin() as connection:
            set_local(connection, "lock_timeout", "30s")
            lock_sequencer(connection)
            pruning = _prune(connection, signing_key.current(), retention, operator)
    except AuditLogBroken as broken:
        keep_findings(engine, broken)
        raise
    if pruning.removed:
        checkpoint_everything(engine, signing_key)
    return pruning


def _prune(connection: Connection, signing_key: SigningKey, retention: timedelta, operator: str) -> Pruning:
    before = pruned_prefix(connection)
    last = last_checkpoint(connection, signing_key.trusted)
    if last is None:
        return Pruning(0, before)
    if stored_root(connection, last.checkpoint.size) != last.checkpoint.root:
        raise AuditLogBroken("signed_root_differs", f"size {last.checkpoint.size}")
    now = database_now(connection)
    # The newest entry stays: by it everybody knows how large the log is.
    tree = _removable(connection, before, last.checkpoint.size - 1, now - retention)
    if tree.size == before:
        return Pruning(0, before)
    root = tree.root()
    if stored_root(connection, tree.size) != root:
        raise AuditLogBroken("pruned_entries_differ", f"size {tree.size}")
    remove_prefix(connection, tree.size, keep=perfect_subtrees(LeafRange(0, tree.size)))
    remember_pruned(connection, tree.size, root)
    _log(connection, tree, operator, now)
    return Pruning(tree.size - before, tree.size)


def _removable(connection: Connection, start: int, end: int, cutoff: datetime) -> GrowingTree:
    """Return the tree over the prefix that may be removed, hashed from bytes.

    Its size is even, so that no later proof needs one of its leaf hashes.
    """
    unfinished = set(execute(connection, _UNFINISHED).scalars())
    tree = stored_tree(connection, start)
    pair: list[bytes] = []
    for first in range(start, end, _CHUNK):
        rows = execute(connection, _LEAVES, {"start": first, "end": min(end, first + _CHUNK)}).all()
        if [row.place for row in rows] != list(range(first, min(end, first + _CHUNK))):
            raise AuditLogBroken("index_missing", f"from {first}")
        for row in rows:
            raw = bytes(row.entry)
            if row.subject in unfinished or _instant(raw, row.place) > cutoff:
                return tree
            pair.append(leaf_hash(raw))
            if len(pair) == 2:
                tree.append(pair[0])
                tree.append(pair[1])
                pair = []
    return tree


def _instant(raw: bytes, place: int) -> datetime:
    try:
        at: str = decode_entry(raw)["at"]
    except NotAuditable:
        raise AuditLogBroken("not_an_entry", f"leaf {place}") from None
    return datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _log(connection: Connection, tree: GrowingTree, operator: str, now: datetime) -> None:
    try:
        log_event(
            connection,
            row="pruning",
            key=str(uuid4()),
            event="log_pruned",
            actor=f"operator:{operator}",
            at=now,
            data={"size": tree.size, "root": tree.root().hex()},
        )
    except ValueError:
        raise Invalid("a name in lower case without spaces, such as ada.byron", field="operator") from None
