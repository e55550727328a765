"""A change of state and its audit entry, in one transaction: the only way in which the service's rows change state.

Decides how a row's counter and previous-entry hash are carried on: entry, counter and hash travel in one statement,
and with `change_rows` the change itself, too. What a change says is decided by the use case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection

from service.domain.audit.entry import AuditEntry
from service.domain.audit.schema import AuditValue
from service.store.arrays import BinaryArray, int_array
from service.store.audit_log.log import append, append_with
from service.store.execute import execute

RowKey = tuple[str, str]
"""Which kind of row, and which one: a change's `row` and `key`."""


class Version(NamedTuple):
    """Where a row stands: how many entries it has had, and the digest of the last."""

    number: int = 0
    entry_hash: bytes | None = None


class Change(NamedTuple):
    """One change of one row. `row` names the table's kind (`request`, `step`, ...), `key` its primary key."""

    row: str
    key: str
    version: Version
    event: str
    subject: str | None = None
    data: Mapping[str, AuditValue] = MappingProxyType({})


_TABLES = {
    "request": ("requests", "id", "uuid"),
    "step": ("steps", "id", "uuid"),
    "batch": ("batches", "id", "uuid"),
    "hold": ("holds", "id", "uuid"),
    "key": ("api_keys", "id", "uuid"),
    "system": ("systems", "name", "text"),
    "import": ("imports", "id", "uuid"),
    "encryption_epoch": ("encryption_epochs", "id", "uuid"),
}


class RowNotThere(Exception):  # noqa: N818 - says what is true of the row
    """A change of a row that isn't in its table: nothing is logged about what didn't happen."""


def log_changes(
    connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime
) -> dict[RowKey, Version]:
    """Append one entry per change and write the rows' new counters, in one statement. Returns each row's new version.

    Several changes of one row follow each other in the order given. The caller holds the rows' locks. Raises
    RowNotThere.
    """
    if not changes:
        return {}
    entries, versions = chain_entries(changes, actor=actor, at=at)
    by_row = _by_row(versions)
    values: dict[str, Any] = {}
    for row, of_row in by_row.items():
        values |= _columns(row, of_row)
    counts = tuple((row, len(of_row) == 1) for row, of_row in by_row.items())
    found = append_with(connection, entries, _counting(counts), values).scalar_one()
    _all_there(found, versions)
    return versions


def change_rows(
    connection: Connection,
    row: str,
    assignments: str,
    values: Mapping[str, Any],
    changes: Sequence[Change],
    *,
    actor: str,
    at: datetime,
) -> dict[RowKey, Version]:
    """The same together with the change itself, for changes of one kind of row that all get the same: one statement.

    `assignments` is what stands behind SET, our own text, such as "state = :state, tries = r.tries + 1"; `values` are
    its parameters. Version and hash go with them. Raises RowNotThere.
    """
    if not changes:
        return {}
    for change in changes:
        if change.row != row:
            raise ValueError("changes of another kind of row")
    entries, versions = chain_entries(changes, actor=actor, at=at)
    update = _update(row, len(versions) == 1, assignments)
    done = append_with(connection, entries, update, {**values, **_columns(row, versions)})
    _all_there(done.rowcount, versions)
    return versions


def chain_entries(
    changes: Sequence[Change], *, actor: str, at: datetime
) -> tuple[list[AuditEntry], dict[RowKey, Version]]:
    """The entries of these changes, each chained to its row's last one, and the versions that the rows then have."""
    entries: list[AuditEntry] = []
    versions: dict[RowKey, Version] = {}
    for change in changes:
        row_key = change.row, change.key
        number, digest = versions.get(row_key, change.version)
        entry = AuditEntry(
            change.event,
            change.row,
            change.key,
            number + 1,
            None if digest is None else digest.hex(),
            at,
            actor,
            change.subject,
            change.data,
        )
        entries.append(entry)
        versions[row_key] = Version(number + 1, entry.hash())
    return entries, versions


def write_versions(connection: Connection, versions: Mapping[RowKey, Version]) -> None:
    """Write new counters and hashes, one statement per kind of row. Raises RowNotThere."""
    for row, of_row in _by_row(versions).items():
        done = execute(connection, _update(row, len(of_row) == 1), _columns(row, of_row))
        _all_there(done.rowcount, of_row)


def _by_row(versions: Mapping[RowKey, Version]) -> dict[str, dict[RowKey, Version]]:
    by_row: dict[str, dict[RowKey, Version]] = {}
    for each, version in versions.items():
        by_row.setdefault(each[0], {})[each] = version
    return by_row


def _columns(row: str, versions: Mapping[RowKey, Version]) -> dict[str, Any]:
    """The parameters of `_update`, from the new versions of rows of this kind."""
    if len(versions) == 1:
        (((_, key), version),) = versions.items()
        return {f"{row}_key": key, f"{row}_version": version.number, f"{row}_hash": version.entry_hash}
    return {
        f"{row}_keys": BinaryArray([key for _, key in versions]),
        f"{row}_versions": int_array([version.number for version in versions.values()]),
        f"{row}_hashes": BinaryArray([version.entry_hash for version in versions.values()]),
    }


@lru_cache(maxsize=256)
def _update(row: str, one: bool, assignments: str = "") -> str:
    """One row is told by plain values: arrays cost the server as much again."""
    table, column, kind = _TABLES[row]
    also = assignments and f"{assignments}, "
    if one:
        return (
            f"UPDATE {table} AS r SET {also}version = :{row}_version, entry_hash = :{row}_hash"  # noqa: S608
            f" WHERE r.{column} = CAST(:{row}_key AS {kind})"
        )
    return (
        f"UPDATE {table} AS r SET {also}version = n.version, entry_hash = n.hash"  # noqa: S608 - our own text
        f" FROM unnest(CAST(:{row}_keys AS {kind}[]), CAST(:{row}_versions AS integer[]),"
        f" CAST(:{row}_hashes AS bytea[])) AS n(key, version, hash) WHERE r.{column} = n.key"
    )


@lru_cache(maxsize=64)
def _counting(kinds: tuple[tuple[str, bool], ...]) -> str:
    """Further WITH queries that write counters of these kinds of row (one or many of each), and how many they found."""
    updates = "".join(f", of_{row} AS ({_update(row, one)} RETURNING 1)" for row, one in kinds)
    counts = " + ".join(f"(SELECT count(*) FROM of_{row})" for row, _ in kinds)  # noqa: S608 - our own text
    return f"{updates} SELECT {counts}"


def _all_there(found: int, wanted: Sized) -> None:
    if found != len(wanted):
        raise RowNotThere(f"{len(wanted)} rows changed, {found} are there")


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
