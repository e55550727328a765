"""Read the suppression list for the people of a page, and write which records re-appeared.

Decides nothing: `service.domain.suppression.reappearance` says which record belongs to an erased person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    DateTime,
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from connectors.base.transitions.states import StepState
from service.domain.suppression.reappearance import Entry
from service.store.arrays import BinaryArray, array_parameter, timestamp_array, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.requests import IdentifierRow, RequestRow
from service.store.tables.suppression import ReappearanceRow
from service.store.tables.work import StepRow

_SYSTEM = bindparam("of_system", type_=Text())


class StepOfOrigin(NamedTuple):
    """A request with entries on the list, and the state of its step in one system (None: no step).

    `person` is the first request of the same person.
    """

    request_id: UUID
    person: UUID
    regime: str
    state: StepState | None
    record_hashes: frozenset[bytes]


@dataclass(frozen=True)
class NewReappearance:
    """A record's state that opened a request. `origin` is the person's first request."""

    record_hash: bytes = field(repr=False)
    changed_at: datetime
    origin: UUID
    request_id: UUID


def find_entries(connection: Connection, hashes: Collection[bytes]) -> list[Entry]:
    """Return the entries of erased people with these keyed hashes; removed entries are left out."""
    rows = execute(connection, _LIST_ENTRIES, {"hashes": BinaryArray(hashes)}).all()
    return [Entry(bytes(row.hash), row.request_id, row.added_at) for row in rows]


_LIST_ENTRIES = load_sql(__package__, "list_entries")


def read_origins(connection: Connection, system: str, request_ids: Collection[UUID]) -> list[StepOfOrigin]:
    """Return these requests, each with its step in the system."""
    rows = execute(connection, _ORIGINS, {"ids": uuid_array(request_ids), "of_system": system}).all()
    return [
        StepOfOrigin(
            row.id,
            row.person,
            row.regime,
            None if row.state is None else StepState(row.state),
            frozenset(bytes(each) for each in row.record_hashes or ()),
        )
        for row in rows
    ]


_ORIGINS = (
    select(
        RequestRow.id,
        func.coalesce(RequestRow.reappearance_of, RequestRow.id).label("person"),
        RequestRow.regime,
        StepRow.state,
        StepRow.record_hashes,
    )
    .select_from(RequestRow)
    .outerjoin(StepRow, (StepRow.request_id == RequestRow.id) & (StepRow.system == _SYSTEM))
    .where(RequestRow.id == any_(array_parameter("ids", Uuid())))
)


def read_refused(
    connection: Connection, people: Collection[UUID], hashes: Collection[bytes]
) -> frozenset[tuple[UUID, bytes]]:
    """Return (person, hash) of re-appearances that were denied, revoked or dropped by a reviewer."""
    rows = execute(connection, _REFUSED, {"people": uuid_array(people), "hashes": BinaryArray(hashes)}).all()
    return frozenset((row.person, bytes(row.keyed_hash)) for row in rows)


_REFUSED = (
    select(RequestRow.reappearance_of.label("person"), IdentifierRow.keyed_hash)
    .join(IdentifierRow, IdentifierRow.request_id == RequestRow.id)
    .where(
        RequestRow.reappearance_of == any_(array_parameter("people", Uuid())),
        or_(
            RequestRow.state.in_([literal_column("'denied'"), literal_column("'revoked'")]),
            IdentifierRow.use == literal_column("'dropped'"),
        ),
        IdentifierRow.keyed_hash == any_(array_parameter("hashes", LargeBinary())),
    )
    .distinct()
)


def read_known_states(
    connection: Connection, system: str, record_hashes: Iterable[bytes]
) -> frozenset[tuple[bytes, datetime]]:
    """Return (record, time of change) of the states of these records that have opened a request before."""
    values = {"of_system": system, "records": BinaryArray(dict.fromkeys(record_hashes))}
    return frozenset((bytes(row.record_hash), row.changed_at) for row in execute(connection, _KNOWN, values).all())


_RECORDS = (
    func.unnest(array_parameter("records", LargeBinary()))
    .table_valued(column("record_hash", LargeBinary))
    .render_derived(name="n")
)
_KNOWN = (
    select(ReappearanceRow.record_hash, ReappearanceRow.changed_at)
    .select_from(_RECORDS)
    .join(
        ReappearanceRow,
        (ReappearanceRow.system == _SYSTEM) & (ReappearanceRow.record_hash == _RECORDS.c.record_hash),
    )
)


def insert_reappearances(
    connection: Connection, system: str, reappearances: Sequence[NewReappearance], now: datetime
) -> None:
    """Write the states of records that opened a request, so that the same states open no further one."""
    values = {
        "of_system": system,
        "now": now,
        "records": BinaryArray(each.record_hash for each in reappearances),
        "changed": timestamp_array(each.changed_at for each in reappearances),
        "origins": uuid_array(each.origin for each in reappearances),
        "requests": uuid_array(each.request_id for each in reappearances),
    }
    execute(connection, _INSERT_REAPPEARANCES, values)


_NEW = (
    func.unnest(
        array_parameter("records", LargeBinary()),
        array_parameter("changed", DateTime(timezone=True)),
        array_parameter("origins", Uuid()),
        array_parameter("requests", Uuid()),
    )
    .table_valued(
        column("record", LargeBinary),
        column("changed", DateTime(timezone=True)),
        column("origin", Uuid),
        column("request", Uuid),
    )
    .render_derived(name="n")
)
_INSERT_REAPPEARANCES = (
    insert(ReappearanceRow)
    .from_select(
        ["system", "record_hash", "changed_at", "origin_id", "request_id", "seen_at"],
        select(
            cast(_SYSTEM, Text),
            _NEW.c.record,
            _NEW.c.changed,
            _NEW.c.origin,
            _NEW.c.request,
            cast(bindparam("now", type_=DateTime(timezone=True)), DateTime(timezone=True)),
        ),
    )
    .on_conflict_do_nothing()
)


def read_clock(connection: Connection) -> tuple[datetime, datetime]:
    """Return the database's clock and the time at which its server started."""
    now, server_started_at = connection.execute(_CLOCK).one()
    return now, server_started_at


_CLOCK = select(
    func.clock_timestamp(type_=DateTime(timezone=True)),
    func.pg_postmaster_start_time(type_=DateTime(timezone=True)),
)
