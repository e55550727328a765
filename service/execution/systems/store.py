"""Read and write connected systems: the only INSERTs and UPDATEs of the table `systems`.

Decides nothing: the breaker, the configuration and the lease say what is written. Every write that lets work go on
removes `nudged_at`, so that the next tick wakes a worker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    Connection,
    Float,
    Integer,
    Interval,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.types import NullType

from service.store.arrays import array_parameter
from service.store.audit_log.record_change import Version
from service.store.execute import execute
from service.store.tables.work import BatchRow, SystemRow

_NOW = func.clock_timestamp()
_ACTIVE = literal_column("'active'", Text())
_SECOND = literal_column("interval '1 second'", Interval())
_SYSTEM = SystemRow.name == bindparam("system", type_=Text())
_NAMES = array_parameter("names", Text())


class LeasableSystem(NamedTuple):
    """A locked system for a lease. `last_bulk`: the bulk submission of the last whole batch."""

    max_concurrency: int
    last_bulk: UUID | None


class BreakerRow(NamedTuple):
    """The locked row of a system as its circuit breaker reads it."""

    failed_passes: int
    is_down: bool
    version: Version


class KnownSystem(NamedTuple):
    """A locked system as the configuration last named it."""

    name: str
    connector: str
    state: str
    fingerprint: str
    position: int
    max_concurrency: int
    not_covered: Sequence[str]
    version: Version


@dataclass(frozen=True)
class BreakerWrite:
    """The health of a system after one call. `cooldown_seconds`: None leaves a running cooldown as it is."""

    failed_passes: int
    is_slow: bool
    is_down: bool
    answered: bool
    cooldown_seconds: float | None
    reason: str | None


def enter(connection: Connection, system: str) -> LeasableSystem | None:
    """Lock an active system, so that its leases count each other; None if it isn't there."""
    row = execute(connection, _ENTER, {"system": system}).one_or_none()
    return None if row is None else LeasableSystem(*row)


_ENTER = (
    update(SystemRow)
    .where(_SYSTEM, SystemRow.state == _ACTIVE)
    .values({SystemRow.nudged_at: null()})
    .returning(SystemRow.max_concurrency, SystemRow.last_bulk)
)


def system_state(connection: Connection, system: str) -> str | None:
    """Return the state of a system; None if there is none of this name."""
    row = execute(connection, _STATE, {"system": system}).one_or_none()
    return None if row is None else row[0]


_STATE = select(SystemRow.state).where(_SYSTEM)


def connector_of(connection: Connection, system: str) -> str:
    """Return the name of a known system's connector."""
    connector: str = execute(connection, _CONNECTOR, {"system": system}).scalar_one()
    return connector


_CONNECTOR = select(SystemRow.connector).where(_SYSTEM)


def lock_system(connection: Connection, system: str) -> None:
    """Lock a system, so that no other transaction counts calls of it meanwhile."""
    execute(connection, _LOCK, {"system": system})


_LOCK = select(SystemRow.name).where(_SYSTEM).with_for_update(key_share=True)


def write_last_bulk(connection: Connection, system: str, bulk: UUID | None) -> None:
    """Write which bulk submission has the batch to itself that is being leased."""
    execute(connection, _WRITE_LAST_BULK, {"system": system, "bulk": bulk})


_WRITE_LAST_BULK = update(SystemRow).where(_SYSTEM).values({SystemRow.last_bulk: bindparam("bulk", type_=Uuid())})


def free_systems(connection: Connection, names: Collection[str], again_seconds: float) -> list[str]:
    """Return the active systems with a free slot, no cooldown and no wake-up in `again_seconds`."""
    values = {"names": list(names), "again": again_seconds}
    return [row[0] for row in execute(connection, _FREE, values).all()]


_LIVE = (
    select(func.count())
    .where(BatchRow.system == SystemRow.name, BatchRow.ended_at.is_(None), BatchRow.lease_until > _NOW)
    .scalar_subquery()
)
_FREE = (
    select(SystemRow.name)
    .where(
        SystemRow.state == _ACTIVE,
        SystemRow.name == func.any(_NAMES),
        or_(
            SystemRow.nudged_at.is_(None),
            SystemRow.nudged_at < _NOW - cast(bindparam("again", type_=NullType()), Float) * _SECOND,
        ),
        or_(SystemRow.cooldown_until.is_(None), SystemRow.cooldown_until <= _NOW),
        # A system that is down is probed by one worker at a time.
        case((SystemRow.down_since.is_(None), SystemRow.max_concurrency), else_=literal_column("1")) > _LIVE,
    )
    .order_by(SystemRow.position, SystemRow.name)
)


def mark_woken(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """Write that these systems' workers are woken now. Returns the connector of each one written, by name.

    A system that another transaction has locked is skipped, because its lease wakes the next worker itself. Waiting for
    it took up to half of a tick.
    """
    return {row.name: row.connector for row in execute(connection, _MARK_WOKEN, {"names": list(names)}).all()}


_FOUND = (
    select(SystemRow.name)
    .where(SystemRow.name == func.any(_NAMES))
    .order_by(SystemRow.name)
    .with_for_update(key_share=True, skip_locked=True)
    .cte("locked")
)
_MARK_WOKEN = (
    update(SystemRow)
    .where(SystemRow.name == _FOUND.c.name)
    .values({SystemRow.nudged_at: _NOW})
    .returning(SystemRow.name, SystemRow.connector)
)


def lock_breaker(connection: Connection, system: str) -> BreakerRow | None:
    """Lock a system for its circuit breaker; None if it isn't there."""
    row = execute(connection, _LOCK_BREAKER, {"system": system}).one_or_none()
    return None if row is None else BreakerRow(row[0], row[1], _version(row[2], row[3]))


_LOCK_BREAKER = (
    select(SystemRow.failed_passes, SystemRow.down_since.is_not(None), SystemRow.version, SystemRow.entry_hash)
    .where(_SYSTEM)
    .with_for_update(key_share=True)
)


def write_breaker(connection: Connection, system: str, write: BreakerWrite) -> None:
    """Write a locked system's health and cooldown; a cooldown that lasts longer already stays."""
    values = {
        "system": system,
        "failed": write.failed_passes,
        "slow": write.is_slow,
        "down": write.is_down,
        "answered": write.answered,
        "seconds": write.cooldown_seconds,
        "reason": write.reason,
    }
    execute(connection, _WRITE_BREAKER, values)


_SECONDS = cast(bindparam("seconds", type_=NullType()), Float)
_UNTIL = func.greatest(SystemRow.cooldown_until, _NOW + _SECONDS * _SECOND)
_REASON = cast(bindparam("reason", type_=NullType()), Text)
_ANSWERED = cast(bindparam("answered", type_=NullType()), Boolean)
_WRITE_BREAKER = (
    update(SystemRow)
    .where(_SYSTEM)
    .values(
        {
            SystemRow.failed_passes: bindparam("failed", type_=Integer()),
            SystemRow.is_slow: bindparam("slow", type_=Boolean()),
            SystemRow.down_since: case(
                (cast(bindparam("down", type_=NullType()), Boolean), func.coalesce(SystemRow.down_since, _NOW))
            ),
            SystemRow.cooldown_until: case(
                (_SECONDS.is_not(None), _UNTIL),
                # An answer ends the breaker's own cooldown, not one that the vendor asked for.
                (and_(_ANSWERED, SystemRow.cooldown_reason == literal_column("'system_down'")), null()),
                else_=SystemRow.cooldown_until,
            ),
            SystemRow.cooldown_reason: func.coalesce(_REASON, SystemRow.cooldown_reason),
            SystemRow.nudged_at: null(),
        }
    )
)


def write_cooldown(connection: Connection, system: str, seconds: float, reason: str) -> None:
    """Write a cooldown from now on; one that lasts longer already stays, with its reason."""
    execute(connection, _WRITE_COOLDOWN, {"system": system, "seconds": seconds, "reason": reason})


_WRITE_COOLDOWN = (
    update(SystemRow)
    .where(_SYSTEM, or_(SystemRow.cooldown_until.is_(None), SystemRow.cooldown_until < _NOW + _SECONDS * _SECOND))
    .values({SystemRow.nudged_at: null(), SystemRow.cooldown_until: _UNTIL, SystemRow.cooldown_reason: _REASON})
)


def end_cooldowns(connection: Connection, reason: str) -> None:
    """End the cooldowns of all systems that have this reason."""
    execute(connection, _END_COOLDOWNS, {"reason": reason})


_END_COOLDOWNS = (
    update(SystemRow)
    .where(SystemRow.cooldown_reason == _REASON)
    .values({SystemRow.cooldown_until: null(), SystemRow.nudged_at: null()})
)


def lock_systems(connection: Connection) -> dict[str, KnownSystem]:
    """Lock every system, also removed ones."""
    rows = execute(connection, _LOCK_SYSTEMS).all()
    return {
        row.name: KnownSystem(
            name=row.name,
            connector=row.connector,
            state=row.state,
            fingerprint=row.fingerprint,
            position=row.position,
            max_concurrency=row.max_concurrency,
            not_covered=row.not_covered,
            version=_version(row.version, row.entry_hash),
        )
        for row in rows
    }


_LOCK_SYSTEMS = (
    select(
        SystemRow.name,
        SystemRow.connector,
        SystemRow.state,
        SystemRow.fingerprint,
        SystemRow.position,
        SystemRow.max_concurrency,
        SystemRow.not_covered,
        SystemRow.version,
        SystemRow.entry_hash,
    )
    .order_by(SystemRow.name)
    .with_for_update(key_share=True)
)


def write_system(connection: Connection, system: KnownSystem) -> None:
    """Add a system, or write its present configuration. The audit entry is the caller's."""
    values = {
        "system": system.name,
        "kind": system.connector,
        "print": system.fingerprint,
        "place": system.position,
        "concurrency": system.max_concurrency,
        "gaps": list(system.not_covered),
    }
    execute(connection, _WRITE_SYSTEM, values)


_ADD = insert(SystemRow).values(
    {
        SystemRow.name: bindparam("system", type_=Text()),
        SystemRow.connector: bindparam("kind", type_=Text()),
        SystemRow.state: _ACTIVE,
        SystemRow.fingerprint: bindparam("print", type_=Text()),
        SystemRow.position: bindparam("place", type_=Integer()),
        SystemRow.max_concurrency: bindparam("concurrency", type_=Integer()),
        SystemRow.not_covered: cast(bindparam("gaps", type_=NullType()), ARRAY(Text)),
    }
)
_WRITE_SYSTEM = _ADD.on_conflict_do_update(
    index_elements=[SystemRow.name],
    set_={
        name: _ADD.excluded[name]
        for name in ("connector", "state", "fingerprint", "position", "max_concurrency", "not_covered")
    },
)


def remove_system(connection: Connection, system: str) -> None:
    """Write that the configuration doesn't have a locked system any more. The audit entry is the caller's."""
    execute(connection, _REMOVE, {"system": system})


_REMOVE = update(SystemRow).where(_SYSTEM).values({SystemRow.state: literal_column("'removed'")})


def write_checks(connection: Connection, results: Mapping[str, str]) -> None:
    """Write the code of each system's credential check, by name; other names are ignored."""
    execute(connection, _WRITE_CHECKS, {"names": list(results), "results": list(results.values())})


_CHECKS = (
    func.unnest(_NAMES, array_parameter("results", Text()))
    .table_valued(column("name", Text), column("result", Text))
    .render_derived(name="n")
)
_WRITE_CHECKS = (
    update(SystemRow)
    .where(SystemRow.name == _CHECKS.c.name)
    .values({SystemRow.checked_at: _NOW, SystemRow.check_result: _CHECKS.c.result})
)


def _version(number: int, entry_hash: bytes | None) -> Version:
    return Version(number, None if entry_hash is None else bytes(entry_hash))
