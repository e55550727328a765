"""Find unfinished requests that share identifiers, and let one transaction at a time look for them.

Reads only. Decides nothing: `resolve` and `advance` decide what follows from an overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    DateTime,
    LargeBinary,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import aliased

from service.requests.identity.store import IS_USED, OF_REQUESTS, PLANNED
from service.requests.imports.paused import REQUEST_IS_ACTIVE
from service.requests.records.store import UNFINISHED_STATE
from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.requests import IdentifierRow, RequestRow


def not_planned_in(connection: Connection, request_id: UUID, others: Collection[UUID]) -> set[UUID]:
    """Return those of the other requests that use an identifier which isn't in this request's plan."""
    return set(execute(connection, _NOT_PLANNED, {"request": request_id, "ids": uuid_array(others)}).scalars())


_IN_PLAN = aliased(IdentifierRow, name="p")
_NOT_PLANNED = (
    select(IdentifierRow.request_id)
    .distinct()
    .where(
        OF_REQUESTS,
        IS_USED,
        ~exists(
            select(1)
            .select_from(_IN_PLAN)
            .where(
                _IN_PLAN.request_id == bindparam("request"),
                _IN_PLAN.keyed_hash == IdentifierRow.keyed_hash,
                _IN_PLAN.use == PLANNED,
            )
            .correlate(IdentifierRow)
        ),
    )
)


class OverlappingRequest(NamedTuple):
    """An unfinished request with the keyed hashes that it has in common with another one."""

    request_id: UUID
    next_action: str | None
    hashes: Sequence[bytes]


def overlapping_requests(
    connection: Connection, request_id: UUID, created_at: datetime, hashes: Collection[bytes]
) -> list[OverlappingRequest]:
    """Return the other unfinished erasures that use one of these hashes, the earliest first.

    A request that isn't resolved yet counts only if it is earlier, and by its verified identifiers: an unverified
    request starts nothing, so that no other may wait for it. A request of a paused import doesn't count either: it
    will find this one when its import is resumed.
    """
    values = {"hashes": BinaryArray(hashes), "key": request_id, "created": created_at}
    return [OverlappingRequest._make(row) for row in execute(connection, _OVERLAPPING, values).all()]


_OVERLAPPING = (
    select(IdentifierRow.request_id, RequestRow.next_action, func.array_agg(IdentifierRow.keyed_hash).label("hashes"))
    .select_from(IdentifierRow)
    .join(RequestRow, RequestRow.id == IdentifierRow.request_id)
    .where(
        IdentifierRow.keyed_hash == func.any(array_parameter("hashes", LargeBinary())),
        IS_USED,
        RequestRow.kind == literal_column("'erasure'"),
        UNFINISHED_STATE,
        RequestRow.duplicate_of.is_(None),
        RequestRow.id != bindparam("key"),
        or_(
            RequestRow.located_until.is_not(None),
            and_(
                tuple_(RequestRow.created_at, RequestRow.id)
                < tuple_(bindparam("created", type_=DateTime(True)), bindparam("key", type_=Uuid())),
                or_(IdentifierRow.verification_method.is_not(None), IdentifierRow.origin == literal_column("'graph'")),
            ),
        ),
        REQUEST_IS_ACTIVE,
    )
    .group_by(IdentifierRow.request_id, RequestRow.next_action, RequestRow.created_at)
    .order_by(RequestRow.created_at, IdentifierRow.request_id)
)


def with_overlap(connection: Connection, hashes: Sequence[tuple[UUID, bytes]]) -> set[UUID]:
    """Return those of these requests of whose keyed hashes one is used by another unfinished request."""
    if not hashes:
        return set()
    values = {
        "ids": uuid_array(each for each, _ in hashes),
        "hashes": BinaryArray(keyed_hash for _, keyed_hash in hashes),
    }
    return set(execute(connection, _WITH_OVERLAP, values).scalars())


_WITH_OVERLAP = load_sql(__package__, "with_overlap")


def take_turns(connection: Connection) -> None:
    """Wait until no other transaction resolves identities: two requests of one person must see each other."""
    execute(connection, _TAKE_TURNS)


_TAKE_TURNS = select(func.pg_advisory_xact_lock(literal_column(str(0x53544C45))))
