"""Write audit entries in the transaction of their changes, chained to each row's last entry.

Decides how a row's counter and previous-entry hash are continued: one statement writes the entries, counters and
hashes. A store that writes the change itself in that statement, too, uses `chain_entries` and `log.append_with`.
Doesn't decide what an entry says: the use case does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    LargeBinary,
    Select,
    Update,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.types import NullType

from service.domain.audit.entry import AuditEntry
from service.domain.audit.schema import AuditValue
from service.store.arrays import BinaryArray, array_parameter, int_array
from service.store.audit_log.log import append, append_with
from service.store.tables import metadata

RowKey = tuple[str, str]
"""The kind of a row and its key: a change's `row` and `key`."""


class Version(NamedTuple):
    """The number of a row's entries so far, and the digest of the last one."""

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
    "request": "requests",
    "step": "steps",
    "batch": "batches",
    "hold": "holds",
    "key": "api_keys",
    "system": "systems",
    "import": "imports",
    "encryption_epoch": "encryption_epochs",
}
"""The table of each kind of row. Its primary key is one column, `Change.key`."""


class RowNotThere(Exception):  # noqa: N818 - says what is true of the row
    """A changed row isn't in its table, so that nothing is logged."""


def log_changes(
    connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime
) -> dict[RowKey, Version]:
    """Append one entry per change and write the rows' new counters, in one statement.

    Returns each row's new version. Several changes of one row follow each other in the order given. The caller holds
    the rows' locks. Raises RowNotThere.
    """
    if not changes:
        return {}
    entries, versions = chain_entries(changes, actor=actor, at=at)
    by_row: dict[str, dict[RowKey, Version]] = {}
    for each, version in versions.items():
        by_row.setdefault(each[0], {})[each] = version
    values: dict[str, object] = {}
    for row, of_row in by_row.items():
        values |= _parameters(row, of_row)
    statement = _write_versions(tuple((row, len(of_row) == 1) for row, of_row in by_row.items()))
    found = append_with(connection, entries, statement, values).scalar_one()
    if found != len(versions):
        raise RowNotThere(f"{len(versions)} rows changed, {found} are there")
    return versions


def chain_entries(
    changes: Sequence[Change], *, actor: str, at: datetime
) -> tuple[list[AuditEntry], dict[RowKey, Version]]:
    """Return the entries of these changes, each chained to its row's last one, and the rows' new versions."""
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


def _parameters(row: str, versions: Mapping[RowKey, Version]) -> dict[str, object]:
    """Return the parameters of `_update`, from the new versions of rows of this kind."""
    if len(versions) == 1:
        (((_, key), version),) = versions.items()
        return {f"{row}_key": key, f"{row}_version": version.number, f"{row}_hash": version.entry_hash}
    return {
        f"{row}_keys": BinaryArray([key for _, key in versions]),
        f"{row}_versions": int_array([version.number for version in versions.values()]),
        f"{row}_hashes": BinaryArray([version.entry_hash for version in versions.values()]),
    }


@lru_cache(maxsize=64)
def _write_versions(kinds: tuple[tuple[str, bool], ...]) -> Select[int]:
    """Return the statement that writes counters of these kinds of row, and counts the rows that it found.

    `kinds`: a kind, and whether it is one row of that kind.
    """
    updates = [_update(row, one).returning(literal_column("1")).cte(f"of_{row}") for row, one in kinds]
    counts = [select(func.count()).select_from(each).scalar_subquery() for each in updates]
    return select(sum(counts[1:], start=counts[0]).label("found"))


def _update(row: str, one: bool) -> Update:
    """Return the UPDATE of one row, or of many.

    One row is named by plain values, because arrays cost twice as much.
    """
    table = metadata.tables[_TABLES[row]]
    (key,) = table.primary_key.columns
    if one:
        return (
            update(table)
            .where(key == cast(bindparam(f"{row}_key", type_=NullType()), key.type))
            .values(version=bindparam(f"{row}_version"), entry_hash=bindparam(f"{row}_hash"))
        )
    n = (
        func.unnest(
            array_parameter(f"{row}_keys", key.type),
            array_parameter(f"{row}_versions", Integer()),
            array_parameter(f"{row}_hashes", LargeBinary()),
        )
        .table_valued(column("key", key.type), column("version", Integer), column("hash", LargeBinary))
        .render_derived(name="n")
    )
    return update(table).where(key == n.c.key).values(version=n.c.version, entry_hash=n.c.hash)


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
    """Append the only entry about an object without a row, such as an export."""
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
