"""Rebuild the states from the log and compare them with the rows: nothing changed that the log doesn't tell, nor back.

One reading of the database at one instant, in which every change and its entry are both there or both not. The entries
are those of the store, or those of an exported file for as far as it goes: then the file, which an auditor verified,
is what the rows are measured by. Memory grows with the objects, not with the entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import Connection, Engine, text

from service.domain.audit.entry import NotAuditable, decode_entry
from service.domain.audit.replay import Difference, Replay, StoredObject, differences
from service.domain.audit.schema import instant_text
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.pruned import pruned_prefix

_CHUNK = 1_000
_STREAMED = {"stream_results": True, "max_row_buffer": _CHUNK}
_LEAVES = text("SELECT index AS place, entry FROM audit_leaves WHERE index >= :start ORDER BY index")
_PENDING = text("SELECT entry FROM audit_pending ORDER BY id")
_ROWS = {
    "request": "SELECT id, state, reason, subject, kind, regime, respond_by, linked_to::text AS linked_to,"
    " reappearance_of::text AS reappearance_of,"
    " plan_version, overdue_at IS NOT NULL AS overdue, extended_at IS NOT NULL AS extended,"
    " sealed_at IS NOT NULL AS sealed, doubts_version, version, entry_hash FROM requests",
    "step": "SELECT id, request_id::text AS request, system, phase, state, reason, attempts, version, entry_hash"
    " FROM steps",
    # A part of a batch that was split, and not leased since, has no entry yet.
    "batch": "SELECT id, system, phase, version, entry_hash FROM batches WHERE version > 0",
    "hold": "SELECT id, reason, effective_at, until, lifted_at IS NOT NULL AS lifted, version, entry_hash FROM holds",
    "key": "SELECT id, scopes, expires_at, revoked_at IS NOT NULL AS revoked, version, entry_hash FROM api_keys",
    "import": "SELECT id, state, format, version, entry_hash FROM imports",
    "encryption_epoch": "SELECT id, state, version, entry_hash FROM encryption_epochs",
    "system": "SELECT name AS id, connector, fingerprint, state, version, entry_hash FROM systems",
}
_INSTANTS = frozenset({"respond_by", "effective_at", "until", "expires_at"})


@dataclass(frozen=True)
class ReplayReport:
    """How much was replayed and every disagreement. `beyond_retention`: rows whose entries were all pruned."""

    entries: int
    objects: int
    beyond_retention: int
    differences: tuple[Difference, ...]


def replay_audit(engine: Engine, export: BinaryIO | None = None) -> ReplayReport:
    """Replay everything committed by now. Raises AuditLogBroken for bytes that are no entry, or an unfit file."""
    entries = 0
    with engine.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        replay = Replay(is_pruned=pruned_prefix(connection) > 0)
        for place, raw in _entries(connection, export):
            try:
                replay.take(decode_entry(raw), raw)
            except NotAuditable:
                raise AuditLogBroken("not_an_entry", place) from None
            entries += 1
        found, beyond = differences(replay, _stored(connection))
    return ReplayReport(entries, len(replay.objects), beyond, tuple(found))


def _entries(connection: Connection, export: BinaryIO | None) -> Iterator[tuple[str, bytes]]:
    start = 0
    if export is not None:
        for start, raw in _exported(export):
            yield f"leaf {start - 1}", raw
    for row in connection.execute(_LEAVES, {"start": start}, execution_options=_STREAMED):
        yield f"leaf {row.place}", bytes(row.entry)
    # An object's entries are written under its row's lock, so their ids are in their order.
    for row in connection.execute(_PENDING, execution_options=_STREAMED):
        yield "pending", bytes(row.entry)


def _exported(export: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(index + 1, bytes) of each entry of a whole export; verify the file before."""
    expected: int | None = None
    for line in export:
        if not line.startswith(b'{"entry":'):
            continue
        try:
            index = json.loads(line)["index"]
        except (ValueError, KeyError):
            raise AuditLogBroken("not_an_export", "line") from None
        if not isinstance(index, int) or (expected is not None and index != expected):
            raise AuditLogBroken("not_an_export", "index")
        expected = index + 1
        yield expected, line[len(b'{"entry":') : -len(b',"index":%d}\n' % index)]
    if expected is None:
        raise AuditLogBroken("not_an_export", "no entries")


def _stored(connection: Connection) -> Iterator[StoredObject]:
    for kind, statement in _ROWS.items():
        for row in connection.execute(text(statement), execution_options=_STREAMED):
            fields = {
                name: instant_text(value) if name in _INSTANTS and value is not None else value
                for name, value in row._mapping.items()
                if name not in ("id", "version", "entry_hash")
            }
            digest = None if row.entry_hash is None else bytes(row.entry_hash).hex()
            yield StoredObject(kind, str(row.id), fields, row.version, digest)
