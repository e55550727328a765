"""Count limits with windows of an hour and more, and limits on people, in SQL once per batch.

The calls that a batch may need are taken before its lease, and the unused ones are given back afterwards: a worker that
crashes in between has taken too many, never too few. The system's row is locked, so that two workers can't take the
same calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Float,
    Integer,
    Interval,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    extract,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.types import NullType

from connectors.base.pacing import RateLimit
from service.execution.systems.store import lock_system
from service.store.execute import execute
from service.store.stores import Stores
from service.store.tables.work import CallCountRow

# A window is counted in so many parts: at most one part's share of the limit lies idle.
_PARTS = 100

_NOW = func.clock_timestamp()
_SECOND = literal_column("interval '1 second'", Interval())


def _seconds(name: str) -> ColumnElement[float]:
    return cast(bindparam(name, type_=NullType()), Float)


_OF_LIMIT = and_(
    CallCountRow.system == bindparam("system", type_=Text()),
    CallCountRow.window_seconds == bindparam("window", type_=Float()),
    CallCountRow.unit == bindparam("unit", type_=Text()),
)
# A call counts until its part of the window is past as a whole.
_REACH = _seconds("reach") * _SECOND
_FREES_AT = func.min(CallCountRow.begins_at).filter(CallCountRow.taken > literal_column("0")) + _REACH
_COUNT = select(
    func.coalesce(func.sum(CallCountRow.taken), literal_column("0")),
    cast(extract("epoch", _FREES_AT - _NOW), Float),
).where(_OF_LIMIT, CallCountRow.begins_at > _NOW - _REACH)
_PART = _seconds("part")
_NEW = insert(CallCountRow).values(
    {
        CallCountRow.system: bindparam("system", type_=Text()),
        CallCountRow.window_seconds: bindparam("window", type_=Float()),
        CallCountRow.unit: bindparam("unit", type_=Text()),
        CallCountRow.begins_at: func.to_timestamp(func.floor(cast(extract("epoch", _NOW), Float) / _PART) * _PART),
        CallCountRow.taken: bindparam("taken", type_=Integer()),
    }
)
_TAKE = _NEW.on_conflict_do_update(
    index_elements=["system", "window_seconds", "unit", "begins_at"],
    set_={"taken": CallCountRow.taken + _NEW.excluded.taken},
).returning(CallCountRow.begins_at)
_GIVE_BACK = (
    update(CallCountRow)
    .where(_OF_LIMIT, CallCountRow.begins_at == bindparam("begins_at", type_=DateTime(timezone=True)))
    .values(
        {
            CallCountRow.taken: func.greatest(
                CallCountRow.taken - bindparam("unused", type_=Integer()), literal_column("0")
            )
        }
    )
)
_FORGET = delete(CallCountRow).where(_OF_LIMIT, CallCountRow.begins_at < _NOW - _seconds("twice") * _SECOND)


@dataclass(frozen=True)
class Reservation:
    """`granted` of each limit, to be given back as far as unused. 0: none is free for `wait_seconds`."""

    system: str
    granted: int
    wait_seconds: float = 0.0
    parts: tuple[tuple[RateLimit, datetime], ...] = ()


def reserve(stores: Stores, system: str, limits: Sequence[RateLimit], wanted: int) -> Reservation:
    """Take up to `wanted` calls (or people) of all these limits at once."""
    with stores.engine.begin() as connection:
        lock_system(connection, system)
        granted, wait = wanted, 0.0
        for limit in limits:
            taken, frees_in = execute(connection, _COUNT, _limit(system, limit) | {"reach": _reach(limit)}).one()
            granted = min(granted, limit.calls - taken)
            if taken >= limit.calls:
                wait = max(wait, frees_in or 0.0, 0.1)
        if granted <= 0:
            return Reservation(system, 0, wait)
        parts = []
        for limit in limits:
            values = _limit(system, limit)
            part = limit.per.total_seconds() / _PARTS
            begins_at = execute(connection, _TAKE, values | {"part": part, "taken": granted}).scalar_one()
            execute(connection, _FORGET, values | {"twice": 2 * limit.per.total_seconds()})
            parts.append((limit, begins_at))
    return Reservation(system, granted, 0.0, tuple(parts))


def release(stores: Stores, taken: Reservation, unused: int) -> None:
    """Give back the calls that a batch didn't need."""
    if unused <= 0 or not taken.parts:
        return
    with stores.engine.begin() as connection:
        for limit, begins_at in taken.parts:
            values = _limit(taken.system, limit) | {"unused": unused, "begins_at": begins_at}
            execute(connection, _GIVE_BACK, values)


def _limit(system: str, limit: RateLimit) -> dict[str, object]:
    unit = "people" if limit.per_subject else "calls"
    return {"system": system, "window": limit.per.total_seconds(), "unit": unit}


def _reach(limit: RateLimit) -> float:
    window = limit.per.total_seconds()
    return window + window / _PARTS
