"""Read the database's clock and rows' versions, change settings, and schedule checks of requests.

Rows are locked FOR NO KEY UPDATE in every store, never FOR UPDATE. A transaction that writes a row with a
foreign key takes FOR KEY SHARE on the request, hold or import that the row names, also where a second UPDATE in one
transaction makes PostgreSQL check the key again, and FOR UPDATE conflicts with that. While steps had such keys, a
transaction that held a request and wanted its steps met one that held the steps: a deadlock, and a batch that stayed
leased until the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Interval,
    Text,
    bindparam,
    column,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy import Uuid as UuidType

from service.store.arrays import array_parameter, uuid_array
from service.store.audit_log.record_change import Version
from service.store.execute import execute
from service.store.tables.work import RequestCheckRow, StepRow, SystemRow

EVERY_GAP: ColumnElement[Sequence[str]] = func.array(
    select(func.unnest(StepRow.not_covered + SystemRow.not_covered).label("gap"))
    .correlate(StepRow, SystemRow)
    .distinct()
    .order_by("gap")
    .scalar_subquery(),
    type_=ARRAY(Text),
)
"""For a step joined with its system: the gaps noted for this step and those that the system's connector declares."""

_NOW: ColumnElement[datetime] = func.clock_timestamp(type_=DateTime(timezone=True))
_CLOCK = select(_NOW)
_IDS = func.unnest(array_parameter("ids", UuidType())).table_valued(column("id", UuidType())).render_derived(name="n")
_CHECK = insert(RequestCheckRow).from_select(["request_id"], select(_IDS.c.id), include_defaults=False)
_DELAY = func.make_interval(0, 0, 0, 0, 0, 0, bindparam("seconds", type_=Double()), type_=Interval())
_CHECK_AFTER = insert(RequestCheckRow).from_select(
    ["request_id", "look_at"], select(_IDS.c.id, _NOW + _DELAY), include_defaults=False
)
_SET_LOCAL = select(
    func.set_config(bindparam("setting", type_=Text()), bindparam("value", type_=Text()), literal_column("true"))
)


def server_started_at(connection: Connection) -> datetime:
    """Return the time at which the server started; it differs after a restart and on another server."""
    started_at: datetime = execute(connection, _SERVER_STARTED_AT).scalar_one()
    return started_at


_SERVER_STARTED_AT = select(func.pg_postmaster_start_time(type_=DateTime(timezone=True)))


def database_now(connection: Connection) -> datetime:
    """Return the time of the database's clock, the only one for leases and due times."""
    now: datetime = execute(connection, _CLOCK).scalar_one()
    return now


def set_local(connection: Connection, setting: str, value: str) -> None:
    """Change a setting of PostgreSQL for the rest of this transaction, as SET LOCAL does."""
    execute(connection, _SET_LOCAL, {"setting": setting, "value": value})


class Versioned(Protocol):
    """A row that counts its entries in the audit log, stored or still to be written."""

    @property
    def version(self) -> int:
        """The number of entries about this row."""

    @property
    def entry_hash(self) -> bytes | None:
        """The digest of the last entry; None before the first."""


def version_of(row: Versioned) -> Version:
    """Return a row's version in the audit log."""
    return Version(row.version, None if row.entry_hash is None else bytes(row.entry_hash))


def disable_seqscan(connection: Connection) -> None:
    """Make this transaction read unfinished rows by their partial indexes.

    With the statistics of a day on which every row was unfinished, the planner would read all rows that have ended
    since.
    """
    set_local(connection, "enable_seqscan", "off")


def request_check(connection: Connection, request_ids: Sequence[UUID]) -> None:
    """Schedule a check of each of these requests for after the commit. Takes no lock."""
    if request_ids:
        execute(connection, _CHECK, {"ids": uuid_array(dict.fromkeys(request_ids))})


def request_check_after(connection: Connection, request_ids: Sequence[UUID], seconds: float) -> None:
    """Schedule a check of each of these requests in so many seconds."""
    if request_ids:
        execute(connection, _CHECK_AFTER, {"ids": uuid_array(dict.fromkeys(request_ids)), "seconds": seconds})
