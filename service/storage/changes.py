"""A change of state and its audit entry, in one transaction: the only way in which the service's rows change state.

Decides how a row's counter and previous-entry hash are carried on. What a change says is decided by the use case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text

from service.domain.audit_entry import AuditEntry
from service.domain.audit_shapes import AuditValue
from service.storage.audit_log import append


@dataclass(frozen=True)
class Version:
    """Where a row stands: how many entries it has had, and the digest of the last."""

    number: int = 0
    entry_hash: bytes | None = None


@dataclass(frozen=True)
class Change:
    """One change of one row. `row` names the table's kind (`request`, `step`, ...), `key` its primary key."""

    row: str
    key: str
    version: Version
    event: str
    subject: str | None = None
    data: Mapping[str, AuditValue] = field(default_factory=dict)


_TABLES = {
    "request": ("requests", "id", "uuid"),
    "step": ("steps", "id", "uuid"),
    "hold": ("holds", "id", "uuid"),
    "key": ("api_keys", "id", "uuid"),
    "system": ("systems", "name", "text"),
}


def log_changes(
    connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime
) -> dict[tuple[str, str], Version]:
    """Append one entry per change and write the rows' new counters. Returns each row's new version.

    Several changes of one row follow each other in the order given. The caller holds the rows' locks.
    """
    entries, versions = chain_entries(changes, actor=actor, at=at)
    append(connection, entries)
    write_versions(connection, versions)
    return versions


def chain_entries(
    changes: Sequence[Change], *, actor: str, at: datetime
) -> tuple[list[AuditEntry], dict[tuple[str, str], Version]]:
    """The entries of these changes, each chained to its row's last one, and the versions that the rows then have."""
    entries: list[AuditEntry] = []
    versions: dict[tuple[str, str], Version] = {}
    for change in changes:
        before = versions.get((change.row, change.key), change.version)
        entry = AuditEntry(
            event=change.event,
            object=change.row,
            object_id=change.key,
            version=before.number + 1,
            previous=None if before.entry_hash is None else before.entry_hash.hex(),
            at=at,
            actor=actor,
            subject=change.subject,
            data=change.data,
        )
        entries.append(entry)
        versions[(change.row, change.key)] = Version(before.number + 1, bytes.fromhex(entry.digest()))
    return entries, versions


def write_versions(connection: Connection, versions: Mapping[tuple[str, str], Version]) -> None:
    """Write new counters and hashes, one statement per kind of row."""
    by_row: dict[str, list[tuple[str, Version]]] = defaultdict(list)
    for (row, key), version in versions.items():
        by_row[row].append((key, version))
    for row, pairs in by_row.items():
        table, column, kind = _TABLES[row]
        connection.execute(
            text(
                f"UPDATE {table} AS r SET version = n.version, entry_hash = n.hash"  # noqa: S608 - names from _TABLES
                f" FROM unnest(CAST(:keys AS {kind}[]), CAST(:versions AS integer[]), CAST(:hashes AS bytea[]))"
                f" AS n(key, version, hash) WHERE r.{column} = n.key"
            ),
            {
                "keys": [key for key, _ in pairs],
                "versions": [version.number for _, version in pairs],
                "hashes": [version.entry_hash for _, version in pairs],
            },
        )


def log_event(
    connection: Connection,
    *,
    row: str,
    key: str,
    event: str,
    actor: str,
    at: datetime,
    subject: str | None = None,
    data: Mapping[str, AuditValue] | None = None,
) -> None:
    """Append the only entry of something that has no row of its own to count on, such as an export."""
    append(
        connection,
        [
            AuditEntry(
                event=event,
                object=row,
                object_id=key,
                version=1,
                previous=None,
                at=at,
                actor=actor,
                subject=subject,
                data=data or {},
            )
        ],
    )
