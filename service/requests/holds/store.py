"""Read and write legal holds: the only INSERT and UPDATEs of the table `holds`.

Decides nothing; the use cases write the audit entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Connection,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased
from sqlalchemy.types import NullType

from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.tables.access import HoldHashRow, HoldRow
from service.store.tables.requests import IdentifierRow, RequestRow
from service.store.tables.work import StepRow


class StoredHold(NamedTuple):
    """A locked hold."""

    id: UUID
    lifted_at: datetime | None
    version: int
    entry_hash: bytes | None


class NewHold(NamedTuple):
    """A hold that is to be written."""

    id: UUID
    reason: str
    until: datetime | None
    placed_by: UUID
    created_at: datetime
    effective_at: datetime


def insert_hold(connection: Connection, hold: NewHold, kinds: Mapping[bytes, str]) -> None:
    """Write a hold and the keyed hashes that it covers, each with its kind."""
    execute(connection, _INSERT, hold._asdict())
    values = {"hold": hold.id, "hashes": BinaryArray(kinds), "kinds": BinaryArray(kinds.values())}
    execute(connection, _INSERT_HASHES, values)


_INSERT = insert(HoldRow).values({name: bindparam(name) for name in NewHold._fields})
_COVERED = (
    func.unnest(array_parameter("hashes", LargeBinary()), array_parameter("kinds", Text()))
    .table_valued(column("hash", LargeBinary), column("kind", Text))
    .render_derived(name="n")
)
_INSERT_HASHES = insert(HoldHashRow).from_select(
    ["hold_id", "keyed_hash", "kind"],
    select(bindparam("hold", type_=Uuid()), _COVERED.c.hash, _COVERED.c.kind),
    include_defaults=False,
)


def lock_hold(connection: Connection, hold_id: UUID) -> StoredHold | None:
    """Lock and return a hold; None if there is none."""
    row = execute(connection, _LOCK, {"id": hold_id}).one_or_none()
    return None if row is None else StoredHold._make(row)


_LOCK = (
    select(*(HoldRow.__table__.c[name] for name in StoredHold._fields))
    .where(HoldRow.id == bindparam("id"))
    .with_for_update(key_share=True)
)


def lock_expired_hold(connection: Connection, hold_id: UUID) -> StoredHold | None:
    """Lock and return a hold if its time is over and no other transaction lifts it or has lifted it."""
    row = execute(connection, _LOCK_EXPIRED, {"id": hold_id}).one_or_none()
    return None if row is None else StoredHold._make(row)


_LOCK_EXPIRED = (
    select(*(HoldRow.__table__.c[name] for name in StoredHold._fields))
    .where(HoldRow.id == bindparam("id"), HoldRow.lifted_at.is_(None), HoldRow.until <= func.clock_timestamp())
    .with_for_update(key_share=True, skip_locked=True)
)


def expired_holds(connection: Connection, now: datetime) -> list[UUID]:
    """Return the holds whose time is over and that aren't lifted."""
    return execute(connection, _EXPIRED, {"now": now}).scalars()


_EXPIRED = (
    select(HoldRow.id)
    .where(HoldRow.lifted_at.is_(None), HoldRow.until <= bindparam("now"))
    .order_by(HoldRow.until, HoldRow.id)
)


def write_lift(connection: Connection, hold_id: UUID, at: datetime) -> None:
    """Write when a locked hold was lifted. The caller writes its entry."""
    execute(connection, _LIFT, {"key": hold_id, "now": at})


_LIFT = update(HoldRow).where(HoldRow.id == bindparam("key")).values({HoldRow.lifted_at: bindparam("now")})


def requests_parked_by(connection: Connection, hold_id: UUID) -> list[UUID]:
    """Return the requests under this hold that have a step parked for a legal hold."""
    return execute(connection, _PARKED_BY, {"id": hold_id}).scalars()


_PARKED_BY = (
    select(IdentifierRow.request_id)
    .distinct()
    .select_from(HoldHashRow)
    .join(IdentifierRow, IdentifierRow.keyed_hash == HoldHashRow.keyed_hash)
    .join(StepRow, StepRow.request_id == IdentifierRow.request_id)
    .where(
        HoldHashRow.hold_id == bindparam("id"),
        StepRow.state == literal_column("'parked'"),
        StepRow.reason == literal_column("'legal_hold'"),
    )
)


def requests_to_hold(connection: Connection, hashes: Collection[bytes]) -> list[UUID]:
    """Return the requests that use one of these hashes, aren't withdrawn or expired, and aren't sealed."""
    return execute(connection, _TO_HOLD, {"hashes": BinaryArray(hashes)}).scalars()


_IS_USED = IdentifierRow.use.in_([literal_column("'planned'"), literal_column("'pending'")])
_TO_HOLD = (
    select(RequestRow.id)
    .distinct()
    .join(IdentifierRow, IdentifierRow.request_id == RequestRow.id)
    .where(
        IdentifierRow.keyed_hash == func.any(array_parameter("hashes", LargeBinary())),
        _IS_USED,
        RequestRow.state.not_in([literal_column("'denied'"), literal_column("'revoked'"), literal_column("'expired'")]),
        RequestRow.sealed_at.is_(None),
    )
)


def requests_under_hold(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these requests that use an identifier which is under a hold in force."""
    return set(execute(connection, _UNDER_HOLD, {"ids": uuid_array(request_ids)}).scalars())


_ANY_HOLD = aliased(HoldRow, name="any_hold")
_UNDER_HOLD = (
    select(IdentifierRow.request_id)
    .distinct()
    .join(HoldHashRow, HoldHashRow.keyed_hash == IdentifierRow.keyed_hash)
    .join(HoldRow, HoldRow.id == HoldHashRow.hold_id)
    .where(
        IdentifierRow.request_id == func.any(array_parameter("ids", Uuid())),
        _IS_USED,
        HoldRow.lifted_at.is_(None),
        or_(HoldRow.until.is_(None), HoldRow.until > func.clock_timestamp()),
        # Evaluated once for the statement: most installations have no hold, and then no identifier is read.
        exists(select(1).select_from(_ANY_HOLD).where(_ANY_HOLD.lifted_at.is_(None))),
    )
)


class HoldCounts(NamedTuple):
    """A hold with the number and the kinds of the identifiers that it covers."""

    id: UUID
    reason: str
    until: datetime | None
    created_at: datetime
    effective_at: datetime
    lifted_at: datetime | None
    identifiers: int
    kinds: Sequence[str]


def read_holds(connection: Connection, *, include_lifted: bool, limit: int) -> list[HoldCounts]:
    """Return holds, newest first, up to `limit`."""
    rows = execute(connection, _ALL, {"lifted": include_lifted, "n": limit}).all()
    return [HoldCounts._make(row) for row in rows]


def read_hold(connection: Connection, hold_id: UUID) -> HoldCounts | None:
    """Return one hold; None if there is none."""
    row = execute(connection, _ONE, {"id": hold_id}).one_or_none()
    return None if row is None else HoldCounts._make(row)


_COUNTED = (
    select(
        HoldRow.id,
        HoldRow.reason,
        HoldRow.until,
        HoldRow.created_at,
        HoldRow.effective_at,
        HoldRow.lifted_at,
        func.count(HoldHashRow.keyed_hash).label("identifiers"),
        func.array_agg(aggregate_order_by(HoldHashRow.kind.distinct(), HoldHashRow.kind)).label("kinds"),
    )
    .join(HoldHashRow, HoldHashRow.hold_id == HoldRow.id)
    .group_by(HoldRow.id)
)
_ALL = (
    _COUNTED.where(or_(cast(bindparam("lifted", type_=NullType()), Boolean), HoldRow.lifted_at.is_(None)))
    .order_by(HoldRow.created_at.desc(), HoldRow.id)
    .limit(bindparam("n"))
)
_ONE = _COUNTED.where(HoldRow.id == bindparam("id"))
