"""Move committed audit entries into the Merkle tree, in one order for all, and sign a checkpoint when one is due.

Writers only insert, so they never queue; one sequencer at a time gives the dense indexes. It takes any committed
entry, never "id > last": ids are handed out before transactions commit, and a late one would be skipped for good. One
transaction holds the leaves, the nodes, the checkpoint and the removal from the pending table, so nothing is lost or
taken twice, whenever the process dies.

An entry that doesn't follow its object's newest one (a wrong version or hash: a bug, or a hand in the pending table)
would make the log unverifiable for ever. It stays in the pending table, marked with the reason, and so do the entries
that would follow it; the others go on. `SequencedBatch.refused` above zero is an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Engine, text

from service.domain.audit_entry import AuditEntry, NotAuditable, Position, digest_of, position_of
from service.domain.merkle import leaf_hash
from service.domain.signed_note import SigningKey, TrustedKey, is_signed_by
from service.storage.audit_checkpoints import StoredCheckpoint, last_checkpoint
from service.storage.audit_findings import AuditLogBroken, keep_findings
from service.storage.audit_log import append
from service.storage.audit_tree import add_leaves, stored_size, stored_tree
from service.storage.packed import Packed
from service.use_cases.sign_checkpoint import sign_checkpoint

# Any number of our own; the lock's name is the same for all who sequence this database's log.
SEQUENCER_LOCK = 7305816312
_LOCK = text(f"SELECT pg_advisory_xact_lock({SEQUENCER_LOCK})")
# Not locked: nobody else takes entries while the sequencer's lock is held, and a lock would write every row once more.
_TAKE = text("SELECT id, entry FROM audit_pending WHERE refused IS NULL ORDER BY id LIMIT :most")
_TAKEN = text("DELETE FROM audit_pending WHERE id = ANY(:ids)")
_REFUSE = text(
    "UPDATE audit_pending SET refused = given.reason "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS given(id, reason) "
    "WHERE audit_pending.id = given.id"
)
_HEADS = text(
    "SELECT object, object_id, version, digest FROM audit_heads "
    "JOIN unnest(CAST(:objects AS text[]), CAST(:object_ids AS text[])) AS asked(object, object_id) "
    "USING (object, object_id)"
)
_MOVE_HEADS = text(
    "INSERT INTO audit_heads (object, object_id, version, digest) SELECT * FROM unnest(CAST(:objects AS text[]), "
    "CAST(:object_ids AS text[]), CAST(:versions AS bigint[]), CAST(:digests AS text[])) "
    "ON CONFLICT (object, object_id) DO UPDATE SET version = excluded.version, digest = excluded.digest"
)

_Object = tuple[str, str]
_Head = tuple[int, str | None]


@dataclass(frozen=True)
class CheckpointRule:
    """A grown log is signed after this time or this many entries, whichever comes first."""

    after: timedelta = timedelta(seconds=60)
    after_entries: int = 1_000


@dataclass(frozen=True)
class SequencedBatch:
    """What one call did. `note` is the newest checkpoint's if it was signed or asked for in this call."""

    entries: int
    refused: int
    size: int
    note: str | None
    more: bool


@dataclass(frozen=True)
class _Taken:
    id: int
    raw: bytes
    position: Position
    digest: str


def sequence_audit(
    engine: Engine,
    signing_key: SigningKey,
    *,
    max_entries: int = 1_000,
    checkpoint_now: bool = False,
    rule: CheckpointRule = CheckpointRule(),
) -> SequencedBatch:
    """Sequences at most `max_entries` pending entries; call again at once while the answer says `more`.

    The log's origin is the signing key's name. A second sequencer waits for the first. With `checkpoint_now` the answer
    carries a note that covers everything sequenced so far. Raises AuditLogBroken, after keeping the finding, if what is
    stored doesn't agree with the last signed checkpoint: then nothing was changed or signed, and nothing is until a
    human looked. Pending entries are safe meanwhile.
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
    """No other transaction sequences or signs until this one ends."""
    connection.execute(_LOCK)


def checkpoint_everything(engine: Engine, signing_key: SigningKey) -> str:
    """Sequences all that is pending now and answers the note over it: what exports and certificates start with.

    Raises AuditLogBroken.
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
    rows = connection.execute(_TAKE, {"most": max_entries}).all()
    taken, refused = _chained(connection, [(row.id, bytes(row.entry)) for row in rows])
    if taken:
        _log(connection, size_before, taken)
    if refused:
        connection.execute(_REFUSE, {"ids": list(refused), "reasons": list(refused.values())})
    size = size_before + len(taken)
    note = None
    if checkpoint_now or takes_over or _is_due(last, size, rule):
        note = sign_checkpoint(connection, signing_key, last, size)
    return SequencedBatch(len(taken), len(refused), size, note, more=len(rows) == max_entries)


def _log_new_key(connection: Connection, key: TrustedKey) -> None:
    """The first entry under a new key: with it the log grows, so that the new key signs a head of its own."""
    version, digest = _heads(connection, {("signing_key", key.fingerprint)}).get(
        ("signing_key", key.fingerprint), (0, None)
    )
    if version > 1:
        return
    entry = AuditEntry(
        "signing_key_taken",
        "signing_key",
        key.fingerprint,
        version + 1,
        digest,
        connection.execute(text("SELECT clock_timestamp()")).scalar_one(),
        "service",
    )
    append(connection, [entry])


def _chained(connection: Connection, rows: Sequence[tuple[int, bytes]]) -> tuple[list[_Taken], dict[int, str]]:
    """Splits pending rows into those that follow their object's newest entry, in order, and those that don't."""
    refused: dict[int, str] = {}
    readable: list[_Taken] = []
    for row_id, raw in rows:
        try:
            readable.append(_Taken(row_id, raw, position_of(raw), digest_of(raw)))
        except NotAuditable:
            refused[row_id] = "not_an_entry"
    heads = _heads(connection, {(row.position.object, row.position.object_id) for row in readable})
    taken = []
    for row in readable:
        position = row.position
        version, digest = heads.get((position.object, position.object_id), (0, None))
        if position.version != version + 1:
            refused[row.id] = "version_out_of_order"
        elif position.previous != digest:
            refused[row.id] = "previous_differs"
        else:
            heads[(position.object, position.object_id)] = (position.version, row.digest)
            taken.append(row)
    return taken, refused


def _heads(connection: Connection, objects: set[_Object]) -> dict[_Object, _Head]:
    if not objects:
        return {}
    asked = sorted(objects)
    rows = connection.execute(
        _HEADS, {"objects": Packed(kind for kind, _ in asked), "object_ids": Packed(identity for _, identity in asked)}
    )
    return {(row.object, row.object_id): (row.version, row.digest) for row in rows}


def _log(connection: Connection, size_before: int, taken: Sequence[_Taken]) -> None:
    """Writes leaves, nodes and heads, and removes the entries from the pending table."""
    add_leaves(
        connection,
        stored_tree(connection, size_before),
        [row.raw for row in taken],
        [leaf_hash(row.raw) for row in taken],
        [row.position.subject for row in taken],
    )
    newest = {(row.position.object, row.position.object_id): row for row in taken}
    connection.execute(
        _MOVE_HEADS,
        {
            "objects": Packed(kind for kind, _ in newest),
            "object_ids": Packed(identity for _, identity in newest),
            "versions": [row.position.version for row in newest.values()],
            "digests": Packed(row.digest for row in newest.values()),
        },
    )
    connection.execute(_TAKEN, {"ids": [row.id for row in taken]})


def _is_due(last: StoredCheckpoint | None, size: int, rule: CheckpointRule) -> bool:
    if last is None:
        return size > 0
    grown = size - last.checkpoint.size
    if grown == 0:
        return False
    return grown >= rule.after_entries or not 0 <= last.age_seconds < rule.after.total_seconds()
