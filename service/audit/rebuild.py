"""Replay the log and compare the resulting states with the rows, in both directions.

The database is read at one instant, in which every change and its entry are both there or both not. The entries are
those of the store, or those of an exported file as far as it goes: then the rows are compared with the file, which an
auditor verified. Memory grows with the objects, not with the entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from sqlalchemy import Connection, Engine, Select, Text, bindparam, cast, select

from service.domain.audit.entry import NotAuditable, decode_entry
from service.domain.audit.replay import Difference, Replay, StoredObject, differences
from service.domain.audit.schema import instant_text
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.pruned import pruned_prefix
from service.store.tables.access import ApiKeyRow, HoldRow
from service.store.tables.audit import AuditLeaf, AuditPending
from service.store.tables.encryption import EncryptionEpochRow
from service.store.tables.imports import ImportRow
from service.store.tables.requests import RequestRow
from service.store.tables.work import BatchRow, StepRow, SystemRow

_CHUNK = 1_000
_STREAMED = {"stream_results": True, "max_row_buffer": _CHUNK}
_LEAVES = (
    select(AuditLeaf.index.label("place"), AuditLeaf.entry)
    .where(AuditLeaf.index >= bindparam("start"))
    .order_by(AuditLeaf.index)
)
_PENDING = select(AuditPending.entry).order_by(AuditPending.id)
_ROWS: Mapping[str, Select[*tuple[object, ...]]] = MappingProxyType(
    {
        "request": select(
            RequestRow.id,
            RequestRow.state,
            RequestRow.reason,
            RequestRow.subject,
            RequestRow.kind,
            RequestRow.regime,
            RequestRow.respond_by,
            cast(RequestRow.duplicate_of, Text).label("duplicate_of"),
            cast(RequestRow.reappearance_of, Text).label("reappearance_of"),
            RequestRow.plan_version,
            RequestRow.overdue_at.is_not(None).label("overdue"),
            RequestRow.extended_at.is_not(None).label("extended"),
            RequestRow.sealed_at.is_not(None).label("sealed"),
            RequestRow.doubts_version,
            RequestRow.version,
            RequestRow.entry_hash,
        ),
        "step": select(
            StepRow.id,
            cast(StepRow.request_id, Text).label("request"),
            StepRow.system,
            StepRow.phase,
            StepRow.state,
            StepRow.reason,
            StepRow.attempts,
            StepRow.version,
            StepRow.entry_hash,
        ),
        # A part of a batch that was split, and not leased since, has no entry yet.
        "batch": select(BatchRow.id, BatchRow.system, BatchRow.phase, BatchRow.version, BatchRow.entry_hash).where(
            BatchRow.version > 0
        ),
        "hold": select(
            HoldRow.id,
            HoldRow.reason,
            HoldRow.effective_at,
            HoldRow.until,
            HoldRow.lifted_at.is_not(None).label("lifted"),
            HoldRow.version,
            HoldRow.entry_hash,
        ),
        "key": select(
            ApiKeyRow.id,
            ApiKeyRow.scopes,
            ApiKeyRow.expires_at,
            ApiKeyRow.revoked_at.is_not(None).label("revoked"),
            ApiKeyRow.version,
            ApiKeyRow.entry_hash,
        ),
        "import": select(ImportRow.id, ImportRow.state, ImportRow.format, ImportRow.version, ImportRow.entry_hash),
        "encryption_epoch": select(
            EncryptionEpochRow.id, EncryptionEpochRow.state, EncryptionEpochRow.version, EncryptionEpochRow.entry_hash
        ),
        "system": select(
            SystemRow.name.label("id"),
            SystemRow.connector,
            SystemRow.fingerprint,
            SystemRow.state,
            SystemRow.version,
            SystemRow.entry_hash,
        ),
    }
)
"""Per kind of row, the columns that its entries tell, under the names of `domain.audit.replay`."""
_INSTANTS = frozenset({"respond_by", "effective_at", "until", "expires_at"})


@dataclass(frozen=True)
class ReplayReport:
    """The number of replayed entries and objects, and every disagreement.

    `beyond_retention`: rows whose entries were all pruned.
    """

    entries: int
    objects: int
    beyond_retention: int
    differences: tuple[Difference, ...]


def replay_audit(engine: Engine, export: BinaryIO | None = None) -> ReplayReport:
    """Replay everything that is committed now.

    Raises AuditLogBroken for bytes that are no entry, or for a file that is no export.
    """
    entries = 0
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with reading.begin() as connection:
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
    for place, raw in connection.execute(_LEAVES, {"start": start}, execution_options=_STREAMED):
        yield f"leaf {place}", bytes(raw)
    # An object's entries are written under its row's lock, so their ids are in their order.
    for raw in connection.execute(_PENDING, execution_options=_STREAMED).scalars():
        yield "pending", bytes(raw)


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
        for row in connection.execute(statement, execution_options=_STREAMED):
            fields = {
                name: instant_text(value) if name in _INSTANTS and value is not None else value
                for name, value in row._mapping.items()
                if name not in ("id", "version", "entry_hash")
            }
            digest = None if row.entry_hash is None else bytes(row.entry_hash).hex()
            yield StoredObject(kind, str(row.id), fields, row.version, digest)
