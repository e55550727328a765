"""Read and lock the steps of a batch, for its lease and for the record of its results.

Decides nothing. Only the columns that these two read are fetched, because they run for every batch; a row becomes a
NamedTuple. Steps are locked by id, as everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Text,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.requests import PlanRow, RequestRow
from service.store.tables.work import AttemptRow, StepRow

_IDS = func.any(array_parameter("ids", Uuid()))
_BATCH = bindparam("batch", type_=Uuid())


class DueStep(NamedTuple):
    """A locked due step for its lease. `now`: the database's clock behind the lock."""

    id: UUID
    request_id: UUID
    phase: str
    attempts: int
    consecutive_attempts: int
    respond_by: datetime
    plan_version: int | None
    records: bytes | None
    records_accepted: bool
    effect_possible: bool
    effect_at: datetime | None
    version: int
    entry_hash: bytes | None
    erased: Mapping[str, int] | None
    now: datetime


class RecordedStep(NamedTuple):
    """A locked step for the record of its result. `subject`: its request's pseudonym.

    NULL instead of '{}' for counts and lists that are usually empty: psycopg parses every JSON value that isn't NULL.
    """

    id: UUID
    request_id: UUID
    position: int
    phase: str
    consecutive_attempts: int
    plan_rounds: int
    effect_possible: bool
    retained: str | None
    plan_version: int | None
    located: bool
    waits_for_order: bool
    has_records: bool
    counts: Mapping[str, int]
    version: int
    entry_hash: bytes | None
    erased: Mapping[str, int] | None
    remaining: Mapping[str, int] | None
    not_covered: Sequence[str] | None
    job_hashes: Sequence[bytes] | None
    subject: str


def lock_due(connection: Connection, step_ids: Collection[UUID], phase: str) -> list[DueStep]:
    """Lock those of these steps that are still due in this phase and in no batch; locked ones are skipped."""
    rows = execute(connection, _LOCK_DUE_BY_ID, {"ids": uuid_array(step_ids), "p": phase}).all()
    return [DueStep._make(row) for row in rows]


def lock_due_of_batch(connection: Connection, batch_id: UUID, at_most: int | None) -> list[DueStep]:
    """Lock up to `at_most` due steps of a batch that was leased before; locked ones are skipped."""
    rows = execute(connection, _LOCK_DUE_OF_BATCH, {"b": batch_id, "n": at_most}).all()
    return [DueStep._make(row) for row in rows]


_LOCK_DUE_OF_BATCH = load_sql(__package__, "lock_due_of_batch")
_LOCK_DUE_BY_ID = load_sql(__package__, "lock_due_by_id")


def lock_steps(connection: Connection, step_ids: Collection[UUID]) -> dict[UUID, RecordedStep]:
    """Lock these steps, whatever became of them; return them by id."""
    return _recorded(connection, _LOCK, {"ids": uuid_array(step_ids)})


def lock_leased_steps(connection: Connection, step_ids: Collection[UUID], batch_id: UUID) -> dict[UUID, RecordedStep]:
    """Lock those of these steps that are leased in this batch; return them by id."""
    return _recorded(connection, _LOCK_LEASED, {"ids": uuid_array(step_ids), "batch": batch_id})


def _recorded(
    connection: Connection, statement: ClauseElement, values: Mapping[str, object]
) -> dict[UUID, RecordedStep]:
    return {row[0]: RecordedStep._make(row) for row in execute(connection, statement, values).all()}


_EMPTY: ColumnElement[str] = literal_column("'{}'")
_LOCK = (
    select(
        StepRow.id,
        StepRow.request_id,
        StepRow.position,
        StepRow.phase,
        StepRow.consecutive_attempts,
        StepRow.plan_rounds,
        StepRow.effect_possible,
        StepRow.retained,
        StepRow.plan_version,
        StepRow.located,
        StepRow.waits_for_order,
        StepRow.record_hashes != _EMPTY,
        StepRow.counts,
        StepRow.version,
        StepRow.entry_hash,
        func.nullif(StepRow.erased, _EMPTY),
        func.nullif(StepRow.remaining, _EMPTY),
        func.nullif(StepRow.not_covered, _EMPTY),
        StepRow.job_hashes,
        RequestRow.subject,
    )
    .join(RequestRow, RequestRow.id == StepRow.request_id)
    .where(StepRow.id == _IDS)
    .order_by(StepRow.id)
    .with_for_update(key_share=True, of=StepRow)
)
_LOCK_LEASED = _LOCK.where(StepRow.state == literal_column("'leased'", Text()), StepRow.batch_id == _BATCH)


def lock_frozen_requests(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Lock those of these requests that have a frozen plan; return which."""
    return set(execute(connection, _LOCK_FROZEN, {"ids": uuid_array(request_ids)}).scalars())


_LOCK_FROZEN = (
    select(RequestRow.id)
    .where(RequestRow.id == _IDS, RequestRow.plan_version > literal_column("0"))
    .order_by(RequestRow.id)
    .with_for_update(key_share=True)
)


class StoppedStep(NamedTuple):
    """A step that must not act: its request is withdrawn, or no approval holds for its plan."""

    id: UUID
    request_id: UUID
    withdrawn: bool
    unapproved: bool


def stopped_steps(connection: Connection, step_ids: Collection[UUID], withdrawn: Collection[str]) -> list[StoppedStep]:
    """Return those of these steps that must not act. `withdrawn`: the states of a withdrawn request.

    A plan is approved by itself or by a later version, which holds all of it.
    """
    values = {"ids": uuid_array(step_ids), "states": BinaryArray(sorted(withdrawn))}
    return [StoppedStep._make(row) for row in execute(connection, _STOPPED, values).all()]


_APPROVED = exists(
    select(PlanRow.version).where(
        PlanRow.request_id == StepRow.request_id,
        PlanRow.version >= StepRow.plan_version,
        or_(PlanRow.approval_reasons == _EMPTY, PlanRow.approved_at.is_not(None)),
    )
)
_ASKED = (
    select(
        StepRow.id,
        StepRow.request_id,
        (RequestRow.state == func.any(array_parameter("states", Text()))).label("withdrawn"),
        not_(_APPROVED).label("unapproved"),
    )
    .join(RequestRow, RequestRow.id == StepRow.request_id)
    .where(StepRow.id == _IDS)
    .subquery("asked")
)
_STOPPED = select(_ASKED).where(or_(_ASKED.c.withdrawn, _ASKED.c.unapproved))


def crashes_of(connection: Connection, batch_id: UUID, reason: str) -> dict[UUID, int]:
    """Return, for each step of the batch with this reason, how many workers in a row crashed with it.

    Consecutive attempts count every error; only an attempt without an end is a worker that crashed.
    """
    rows = execute(connection, _CRASHES, {"batch": batch_id, "reason": reason}).all()
    return {row[0]: row[1] for row in rows}


_CRASHES = (
    select(StepRow.id, func.least(StepRow.consecutive_attempts, func.count()))
    .join(
        AttemptRow,
        and_(AttemptRow.step_id == StepRow.id, AttemptRow.batch_id == StepRow.batch_id, AttemptRow.ended_at.is_(None)),
    )
    .where(StepRow.batch_id == _BATCH, StepRow.reason == bindparam("reason", type_=Text()))
    .group_by(StepRow.id, StepRow.consecutive_attempts)
)
