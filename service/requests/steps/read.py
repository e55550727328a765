"""Read and lock whole steps for events that no connector's result causes.

Decides nothing. Several steps are locked by id, as everywhere, so that no two transactions deadlock. The lease and the
record read fewer columns (`service.execution.store`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import (
    ClauseElement,
    Connection,
    Integer,
    Text,
    Uuid,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
)

from connectors.base.transitions.states import StepState
from service.requests.steps.rows import StoredStep
from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.work import AttemptRow, StepRow

_STEPS = select(*(StepRow.__table__.c[name] for name in StoredStep._fields))
_IDS = func.any(array_parameter("ids", Uuid()))
_OF_SYSTEM = StepRow.system == bindparam("system", type_=Text())
_IN_STATES = StepRow.state == func.any(array_parameter("states", Text()))
_LEASED = literal_column("'leased'", Text())
_PARKED = literal_column("'parked'", Text())
_NUMBER = bindparam("n", type_=Integer())


def read_steps(connection: Connection, ids: Collection[UUID]) -> list[StoredStep]:
    """Return these steps, which the caller has locked, by id."""
    return _stored(connection, _READ, {"ids": uuid_array(ids)}) if ids else []


_READ = _STEPS.where(StepRow.id == _IDS).order_by(StepRow.id)


def lock_steps(connection: Connection, request_ids: Collection[UUID]) -> dict[UUID, list[StoredStep]]:
    """Lock all steps of these requests; return them by request, in the order of their positions."""
    found: dict[UUID, list[StoredStep]] = {request_id: [] for request_id in request_ids}
    steps = _stored(connection, _LOCK_STEPS, {"ids": uuid_array(request_ids)})
    for step in sorted(steps, key=lambda step: (step.position, step.id)):
        found[step.request_id].append(step)
    return found


_LOCK_STEPS = _STEPS.where(StepRow.request_id == _IDS).order_by(StepRow.id).with_for_update(key_share=True)


def lock_leased(connection: Connection, ids: Collection[UUID], batch_id: UUID) -> list[StoredStep]:
    """Lock those of these steps that are leased in this batch."""
    return _stored(connection, _LOCK_LEASED, {"ids": uuid_array(ids), "batch": batch_id})


_LOCK_LEASED = (
    _STEPS.where(StepRow.id == _IDS, StepRow.state == _LEASED, StepRow.batch_id == bindparam("batch", type_=Uuid()))
    .order_by(StepRow.id)
    .with_for_update(key_share=True)
)


def lock_leased_of(connection: Connection, batch_ids: Collection[UUID]) -> list[StoredStep]:
    """Lock the leased steps of these batches."""
    return _stored(connection, _LOCK_LEASED_OF, {"ids": uuid_array(batch_ids)})


_LOCK_LEASED_OF = (
    _STEPS.where(StepRow.batch_id == _IDS, StepRow.state == _LEASED)
    .order_by(StepRow.id)
    .with_for_update(key_share=True)
)


def read_crashed(connection: Connection, ids: Collection[UUID], most: int) -> list[StoredStep]:
    """Return those of these locked steps whose last `most` attempts all ended without a result."""
    return _stored(connection, _READ_CRASHED, {"ids": uuid_array(ids), "n": most})


# Other errors count as consecutive attempts, too; only an attempt without an end is a worker that crashed.
_CRASHES = (
    select(func.count())
    .where(
        AttemptRow.step_id == StepRow.id,
        AttemptRow.number > StepRow.attempts - _NUMBER,
        AttemptRow.ended_at.is_(None),
    )
    .scalar_subquery()
)
_READ_CRASHED = _STEPS.where(StepRow.id == _IDS, _CRASHES == _NUMBER).order_by(StepRow.id)


def lock_in_states(connection: Connection, system: str, states: Collection[StepState]) -> list[StoredStep]:
    """Lock the steps of a system that are in these states."""
    return _stored(connection, _LOCK_IN_STATES, {"system": system, "states": BinaryArray(sorted(states))})


_LOCK_IN_STATES = _STEPS.where(_OF_SYSTEM, _IN_STATES).order_by(StepRow.id).with_for_update(key_share=True)


def parked_steps(
    connection: Connection, system: str, reason: str, *, after: UUID, limit: int
) -> list[tuple[UUID, UUID]]:
    """Return the next parked steps of a system, each with its request.

    `reason` is their whole reason, or its part before the colon.
    """
    values = {"system": system, "reason": reason, "after": after, "n": limit}
    return [(row[0], row[1]) for row in execute(connection, _PARKED_STEPS, values).all()]


_REASON = bindparam("reason", type_=Text())
_PARKED_STEPS = (
    select(StepRow.id, StepRow.request_id)
    .where(
        _OF_SYSTEM,
        StepRow.state == _PARKED,
        StepRow.id > bindparam("after", type_=Uuid()),
        or_(StepRow.reason == _REASON, func.split_part(StepRow.reason, literal_column("':'"), 1) == _REASON),
    )
    .order_by(StepRow.id)
    .limit(_NUMBER)
)


def lock_parked(connection: Connection, ids: Collection[UUID]) -> list[StoredStep]:
    """Lock these steps; return those that are parked."""
    return _stored(connection, _LOCK_PARKED, {"ids": uuid_array(ids)})


# Locked by id first and tested afterwards, because another transaction may move a step until it is locked.
_ASKED = (
    _STEPS.where(StepRow.id == _IDS)
    .order_by(StepRow.id)
    .with_for_update(key_share=True)
    .cte("locked")
    .prefix_with("MATERIALIZED")
)
_LOCK_PARKED = select(_ASKED).where(_ASKED.c.state == _PARKED)


def lock_due_of_removed(connection: Connection, limit: int) -> list[StoredStep]:
    """Lock due and accepted steps of removed systems; locked ones are skipped."""
    return _stored(connection, _LOCK_DUE_OF_REMOVED, {"n": limit})


_REMOVED = (
    _STEPS.where(StepRow.id.in_(text(load_sql(__package__, "due_of_removed_systems"))))
    .order_by(StepRow.id)
    .with_for_update(key_share=True, skip_locked=True)
    .cte("locked")
    .prefix_with("MATERIALIZED")
)
_LOCK_DUE_OF_REMOVED = select(_REMOVED).where(
    _REMOVED.c.state.in_([literal_column("'due'"), literal_column("'accepted'")])
)


def _stored(connection: Connection, statement: ClauseElement, values: Mapping[str, object]) -> list[StoredStep]:
    return [StoredStep(*row) for row in execute(connection, statement, values).all()]
