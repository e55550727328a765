"""Write the columns of requests beside their state: leases, due times, origins.

Decides nothing, and writes no audit entry, because the audit log doesn't record them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    Integer,
    Interval,
    Uuid,
    bindparam,
    cast,
    column,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.types import NullType

from service.requests.records.rows import PlannedRequest
from service.store.arrays import array_parameter, int_array, uuid_array
from service.store.execute import execute
from service.store.tables.requests import RequestRow

_BY_IDS = RequestRow.id == func.any(array_parameter("ids", Uuid()))
_IDENTIFYING = RequestRow.next_action == literal_column("'identify'")


class LeasedRequest(NamedTuple):
    """A request that is leased for the search of its data subject."""

    id: UUID
    fence: int
    consecutive_attempts: int
    respond_by: datetime
    created_at: datetime
    kind: str
    doubts_version: int


def lease_identities(connection: Connection, request_ids: Sequence[UUID], lease: timedelta) -> list[LeasedRequest]:
    """Lease those of these requests that are due and not leased; locked ones are skipped."""
    rows = execute(connection, _LEASE, {"ids": uuid_array(request_ids), "lease": lease}).all()
    return [LeasedRequest._make(row) for row in rows]


_LEASABLE = (
    select(RequestRow.id)
    .where(
        _BY_IDS,
        _IDENTIFYING,
        RequestRow.due_at <= func.clock_timestamp(),
        or_(RequestRow.lease_until.is_(None), RequestRow.lease_until < func.clock_timestamp()),
    )
    .order_by(RequestRow.id)
    .with_for_update(key_share=True, skip_locked=True)
)
_LEASE = (
    update(RequestRow)
    .where(RequestRow.id.in_(_LEASABLE))
    .values(
        {
            RequestRow.lease_until: func.clock_timestamp() + cast(bindparam("lease", type_=NullType()), Interval),
            RequestRow.fence: RequestRow.fence + 1,
            RequestRow.consecutive_attempts: RequestRow.consecutive_attempts + 1,
        }
    )
    .returning(*(RequestRow.__table__.c[name] for name in LeasedRequest._fields))
)


def return_identities(connection: Connection, fences: Mapping[UUID, int], due_at: datetime) -> None:
    """End these leases and make the requests due at `due_at`; a lease that was lost changes nothing."""
    values = {"due": due_at, "ids": uuid_array(fences), "fences": int_array(fences.values())}
    execute(connection, _RETURN, values)


_FENCES = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("fences", Integer()))
    .table_valued(column("id", Uuid), column("fence", Integer))
    .render_derived(name="n")
)
_RETURN = (
    update(RequestRow)
    .where(RequestRow.id == _FENCES.c.id, RequestRow.fence == _FENCES.c.fence, _IDENTIFYING)
    .values({RequestRow.due_at: bindparam("due"), RequestRow.lease_until: null()})
)


def postpone(connection: Connection, request_id: UUID, due_at: datetime) -> None:
    """Make what a locked request needs next due at `due_at`, and end its lease if it has one."""
    execute(connection, _POSTPONE, {"due": due_at, "key": request_id})


_POSTPONE = (
    update(RequestRow)
    .where(RequestRow.id == bindparam("key"))
    .values({RequestRow.due_at: bindparam("due"), RequestRow.lease_until: null()})
)


def keep_second_person(connection: Connection, request_id: UUID, reasons: Sequence[str]) -> PlannedRequest:
    """Write why every plan of a locked request needs a second person. Return the row."""
    return PlannedRequest._make(execute(connection, _KEEP, {"key": request_id, "reasons": list(reasons)}).one())


_KEEP = (
    update(RequestRow)
    .where(RequestRow.id == bindparam("key"))
    .values({RequestRow.second_person_for: bindparam("reasons")})
    .returning(*(RequestRow.__table__.c[name] for name in PlannedRequest._fields))
)


def plan_sealing(connection: Connection, request_ids: Sequence[UUID], seal_at: datetime) -> None:
    """Make these locked requests due for sealing at `seal_at`."""
    if request_ids:
        execute(connection, _PLAN_SEALING, {"ids": uuid_array(request_ids), "due": seal_at})


_PLAN_SEALING = (
    update(RequestRow)
    .where(_BY_IDS)
    .values(
        {
            RequestRow.next_action: literal_column("'seal'"),
            RequestRow.due_at: bindparam("due"),
            RequestRow.lease_until: null(),
        }
    )
)


def write_origins(connection: Connection, origins: Mapping[UUID, UUID]) -> None:
    """Write which earlier request each of these new ones goes back to."""
    execute(connection, _WRITE_ORIGINS, {"ids": uuid_array(origins), "origins": uuid_array(origins.values())})


_ORIGINS = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("origins", Uuid()))
    .table_valued(column("id", Uuid), column("origin", Uuid))
    .render_derived(name="n")
)
_WRITE_ORIGINS = (
    update(RequestRow).where(RequestRow.id == _ORIGINS.c.id).values({RequestRow.reappearance_of: _ORIGINS.c.origin})
)


def forget_attempts(connection: Connection, *, age: timedelta, limit: int) -> list[UUID]:
    """Mark up to `limit` requests, sealed longer than `age` ago, as having no attempts. Return them.

    The caller deletes the attempts in the same transaction. Locked requests are skipped.
    """
    return execute(connection, _FORGET_ATTEMPTS, {"age": age, "n": limit}).scalars()


_OLD = (
    select(RequestRow.id)
    .where(
        RequestRow.attempts_kept,
        RequestRow.sealed_at < func.clock_timestamp() - cast(bindparam("age", type_=NullType()), Interval),
    )
    .order_by(RequestRow.sealed_at)
    .limit(bindparam("n"))
    .with_for_update(key_share=True, skip_locked=True)
)
_FORGET_ATTEMPTS = (
    update(RequestRow)
    .where(RequestRow.id.in_(_OLD))
    .values({RequestRow.attempts_kept: false()})
    .returning(RequestRow.id)
)
