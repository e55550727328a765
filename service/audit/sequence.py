"""Move committed audit entries into the Merkle tree, in one order, and sign checkpoints.

Writers only insert, so that they never wait for each other; one sequencer at a time gives the dense indexes. It takes
any committed entry, never "id > last", because ids are assigned before transactions commit, and an entry that is
committed late would be skipped for good. One transaction holds the leaves, the nodes, the checkpoint and the removal
from the pending table, so that no entry is lost or taken twice, whenever the process dies.

An entry that doesn't follow its object's newest one (a wrong version or hash, by a bug or a manual change of the
pending table) would make the log unverifiable for ever. It stays in the pending table, marked with the reason, and so
do the entries that would follow it; all others are sequenced. `SequencedBatch.refused` above zero is an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select

from service.audit.sign_checkpoint import sign_checkpoint
from service.domain.audit.entry import AuditEntry, NotAuditable, Position, digest_of, position_of
from service.domain.audit.merkle import GrowingTree, leaf_hash
from service.domain.audit.signed_note import SigningKey, TrustedKey, is_signed_by
from service.store.audit_log.checkpoints import StoredCheckpoint, last_checkpoint
from service.store.audit_log.findings import AuditLogBroken, keep_findings
from service.store.audit_log.heads import Head, LoggedObject, heads_of, move_heads
from service.store.audit_log.log import append
from service.store.audit_log.tree import add_leaves, stored_size, stored_tree
from service.store.bulk_copy import copy_rows, rows_in_binary
from service.store.execute import execute
from service.store.locking import database_now
from service.store.sql_files import load_sql

# The number is chosen by us and used for nothing else; every sequencer of this database's log takes the same lock.
_LOCK = select(func.pg_advisory_xact_lock(7305816312))
_TAKE = load_sql(__package__, "take_pending")
_PUT_BACK = load_sql(__package__, "put_back_refused")
_REFUSED = ("int8", "bytea", "timestamptz", "varchar")


@dataclass(frozen=True)
class CheckpointRule:
    """Sign a grown log after this time or this many entries, by the earlier of the two; once in a pass."""

    after: timedelta = timedelta(seconds=60)
    after_entries: int = 1_000


@dataclass(frozen=True)
class SequencedBatch:
    """The result of one call. `note` is the newest checkpoint's, if it was signed or requested in it."""

    entries: int
    refused: int
    size: int
    note: str | None
    more: bool


class _Pending(NamedTuple):
    id: int
    raw: bytes
    created_at: datetime


@dataclass
class _Chained:
    """Pending entries that follow their object's newest one, in order, and the reasons why others don't."""

    raws: list[bytes] = field(default_factory=list)
    subjects: list[str | None] = field(default_factory=list)
    before: dict[LoggedObject, Head] = field(default_factory=dict)
    heads: dict[LoggedObject, Head] = field(default_factory=dict)
    refused: list[tuple[_Pending, str]] = field(default_factory=list)


def sequence_audit(
    engine: Engine,
    signing_key: SigningKey,
    *,
    max_entries: int = 5_000,
    checkpoint_now: bool = False,
    rule: CheckpointRule = CheckpointRule(),
) -> SequencedBatch:
    """Sequence at most `max_entries` pending entries; call again at once while the result has `more`.

    The log's origin is the signing key's name. A second sequencer waits for the first. With `checkpoint_now` the result
    has a note that covers everything sequenced so far. Raises AuditLogBroken, after storing the finding, if the stored
    log doesn't agree with the last signed checkpoint: then nothing was changed or signed, and nothing will be until a
    human has repaired the log. Pending entries are safe meanwhile.
    """
    try:
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            lock_sequencer(connection)
            # Under the lock, which a rotation holds too: a key that was rotated away never signs again.
            return _sequence(connection, signing_key.current(), max_entries, checkpoint_now, rule)
    except AuditLogBroken as broken:
        keep_findings(engine, broken)
        raise


def lock_sequencer(connection: Connection) -> None:
    """Keep every other transaction from sequencing or signing until this one ends."""
    execute(connection, _LOCK)


def checkpoint_everything(engine: Engine, signing_key: SigningKey) -> str:
    """Sequence all entries that are pending now, and return the note over them.

    Exports and certificates begin with it. Raises AuditLogBroken.
    """
    while sequence_audit(engine, signing_key).more:
        pass
    batch = sequence_audit(engine, signing_key, checkpoint_now=True)
    if batch.note is None:
        raise AssertionError("a checkpoint that was asked for is always answered")
    return batch.note


def _sequence(
    connection: Connection, signing_key: SigningKey, max_entries: int, checkpoint_now: bool, rule: CheckpointRule
) -> SequencedBatch:
    size_before = stored_size(connection)
    last = last_checkpoint(connection, signing_key.trusted)
    # The first checkpoint is signed with the first entries, so leaves without one mean that checkpoints were removed.
    if (last.checkpoint.size if last else 0) > size_before or (last is None and size_before):
        signed = last.checkpoint.size if last else None
        raise AuditLogBroken("log_cut", f"{size_before} leaves, last checkpoint at {signed}")
    takes_over = last is not None and not is_signed_by(last.note, signing_key.trusted)
    if takes_over:
        _log_new_key(connection, signing_key.trusted)
    rows = sorted(rows_in_binary(connection, _TAKE, {"most": max_entries}, _Pending))
    chained = _chain(connection, rows)
    before = stored_tree(connection, size_before)
    tree = GrowingTree(before.size, list(before.peaks))
    _log(connection, tree, chained)
    if chained.refused:
        put_back = ((*row, reason) for row, reason in chained.refused)
        copy_rows(connection, _PUT_BACK, _REFUSED, put_back)
    note = None
    if checkpoint_now or takes_over or _is_due(last, tree.size, rule):
        note = sign_checkpoint(connection, signing_key, last, before, tree)
    return SequencedBatch(len(chained.raws), len(chained.refused), tree.size, note, more=len(rows) == max_entries)


def _log_new_key(connection: Connection, key: TrustedKey) -> None:
    """Log the first entry under a new key.

    The log grows with it, so that the new key signs a head of its own.
    """
    taken = ("signing_key", key.fingerprint)
    version, digest = heads_of(connection, [taken]).get(taken, (0, None))
    if version > 1:
        return
    entry = AuditEntry(
        "signing_key_taken",
        "signing_key",
        key.fingerprint,
        version + 1,
        digest,
        database_now(connection),
        "service",
    )
    append(connection, [entry])


def _chain(connection: Connection, rows: Sequence[_Pending]) -> _Chained:
    found = _Chained()
    readable: list[tuple[_Pending, Position, LoggedObject]] = []
    for row in rows:
        try:
            position = position_of(row.raw)
        except NotAuditable:
            found.refused.append((row, "not_an_entry"))
        else:
            readable.append((row, position, (position.object, position.object_id)))
    found.before = heads_of(connection, {each for _, _, each in readable})
    heads = found.heads = dict(found.before)
    for row, position, each in readable:
        version, digest = heads.get(each, (0, None))
        if position.version != version + 1:
            found.refused.append((row, "version_out_of_order"))
        elif position.previous != digest:
            found.refused.append((row, "previous_differs"))
        else:
            heads[each] = Head(position.version, digest_of(row.raw))
            found.raws.append(row.raw)
            found.subjects.append(position.subject)
    return found


def _log(connection: Connection, tree: GrowingTree, chained: _Chained) -> None:
    """Writes leaves, nodes and heads; the tree grows."""
    if chained.raws:
        add_leaves(connection, tree, chained.raws, [leaf_hash(raw) for raw in chained.raws], chained.subjects)
        move_heads(connection, chained.before, chained.heads)


def _is_due(last: StoredCheckpoint | None, size: int, rule: CheckpointRule) -> bool:
    if last is None:
        return size > 0
    grown = size - last.checkpoint.size
    if grown == 0:
        return False
    return grown >= rule.after_entries or not 0 <= last.age_seconds < rule.after.total_seconds()
