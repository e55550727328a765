"""Read the log's entries in their order, page by page, for exports and reports.

Each page is a transaction of its own, so that a slow reader holds no transaction open. Sequenced entries never change,
so that pages of different times belong together. A gap is an error, never skipped. The entries' bytes are as stored; a
caller that proves something hashes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Integer, bindparam, select

from service.domain.audit.signed_note import Checkpoint, NoteRefused, TrustedKey, open_logged_checkpoint
from service.store.audit_log.findings import AuditLogBroken
from service.store.execute import execute
from service.store.tables.audit import AuditCheckpoint, AuditLeaf

PAGE = 1_000
_PAGE = (
    select(AuditLeaf.index.label("place"), AuditLeaf.entry)
    .where(AuditLeaf.index >= bindparam("start"), AuditLeaf.index < bindparam("end"))
    .order_by(AuditLeaf.index)
    .limit(bindparam("most", type_=Integer()))
)
_SIGNED = select(AuditCheckpoint.note).where(AuditCheckpoint.size == bindparam("size"))


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry's bytes at its index."""

    index: int
    raw: bytes


def read_pages(engine: Engine, start: int, end: int) -> Iterator[Sequence[LoggedEntry]]:
    """Return the entries start <= index < end, at most `PAGE` at a time.

    Raises AuditLogBroken where one is missing.
    """
    place = start
    while place < end:
        with engine.begin() as connection:
            rows = execute(connection, _PAGE, {"start": place, "end": end, "most": PAGE}).all()
        page = [LoggedEntry(row.place, bytes(row.entry)) for row in rows]
        for expected, entry in enumerate(page, place):
            if entry.index != expected:
                raise AuditLogBroken("index_missing", f"leaf {expected}")
        if not page:
            raise AuditLogBroken("index_missing", f"leaf {place}")
        yield page
        place += len(page)


def signed_at(engine: Engine, size: int, trusted: TrustedKey) -> str | None:
    """Return the note over exactly `size` entries, if one was signed.

    Raises AuditLogBroken if it isn't the one that we signed.
    """
    with engine.begin() as connection:
        row = execute(connection, _SIGNED, {"size": size}).one_or_none()
        note: str | None = None if row is None else row.note
    if note is not None and _opened(note, size, trusted).size != size:
        raise AuditLogBroken("checkpoint_columns_differ", f"size {size}")
    return note


def _opened(note: str, size: int, trusted: TrustedKey) -> Checkpoint:
    try:
        return open_logged_checkpoint(note, trusted)
    except NoteRefused as refused:
        raise AuditLogBroken("checkpoint_not_ours", f"size {size}: {refused}") from None
