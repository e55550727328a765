"""Read and add signed checkpoints; each is checked against its own signature."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, select

from service.domain.audit.signed_note import Checkpoint, NoteRefused, TrustedKey, open_logged_checkpoint
from service.store.audit_log.findings import AuditLogBroken
from service.store.execute import execute
from service.store.tables.audit import AuditCheckpoint

# Age by the database's clock, which wrote created_at. An age below zero counts as due, so that a written
# future time postpones no checkpoint.
_AGE = func.date_part("epoch", func.clock_timestamp() - AuditCheckpoint.created_at)
_SIGNED = select(AuditCheckpoint.size, AuditCheckpoint.root, AuditCheckpoint.note)
_LAST = _SIGNED.add_columns(_AGE.label("age_seconds")).order_by(AuditCheckpoint.size.desc()).limit(1)
_BETWEEN = _SIGNED.where(AuditCheckpoint.size > bindparam("after"), AuditCheckpoint.size <= bindparam("upto")).order_by(
    AuditCheckpoint.size
)
_ADD = insert(AuditCheckpoint).values(size=bindparam("size"), root=bindparam("root"), note=bindparam("note"))


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint whose note was signed by our key, or by one before it, and agrees with its columns."""

    checkpoint: Checkpoint
    note: str
    age_seconds: float


def last_checkpoint(connection: Connection, trusted: TrustedKey) -> StoredCheckpoint | None:
    """Return the checkpoint of the largest tree that was signed.

    Raises AuditLogBroken if it isn't the one that we signed.
    """
    row = execute(connection, _LAST).one_or_none()
    if row is None:
        return None
    return StoredCheckpoint(_opened(row.size, bytes(row.root), row.note, trusted), row.note, row.age_seconds)


def checkpoints_between(connection: Connection, after: int, upto: int, trusted: TrustedKey) -> list[Checkpoint]:
    """Return the checkpoints with after < size <= upto, each opened.

    Raises AuditLogBroken on the first that can't be opened.
    """
    rows = execute(connection, _BETWEEN, {"after": after, "upto": upto}).all()
    return [_opened(row.size, bytes(row.root), row.note, trusted) for row in rows]


def add_checkpoint(connection: Connection, checkpoint: Checkpoint, note: str) -> None:
    execute(connection, _ADD, {"size": checkpoint.size, "root": checkpoint.root, "note": note})


def _opened(size: int, root: bytes, note: str, trusted: TrustedKey) -> Checkpoint:
    try:
        checkpoint = open_logged_checkpoint(note, trusted)
    except NoteRefused as refused:
        raise AuditLogBroken("checkpoint_not_ours", f"size {size}: {refused}") from None
    if (checkpoint.size, checkpoint.root) != (size, root):
        raise AuditLogBroken("checkpoint_columns_differ", f"size {size}")
    return checkpoint
