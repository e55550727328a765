"""Write the columns of steps beside their state: due times, deadlines, queues, plans, awaited jobs.

Decides nothing, and writes no audit entry: the log has states, and the request's plans and deadlines. The
caller holds the rows' locks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.types import NullType

from service.store.arrays import array_parameter, int_array, timestamp_array, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.work import StepRow


def reschedule(connection: Connection, due: Mapping[UUID, datetime]) -> None:
    """Change when these locked steps are due."""
    if due:
        execute(connection, _RESCHEDULE, {"ids": uuid_array(due), "dues": timestamp_array(due.values())})


_DUE = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("dues", DateTime(timezone=True)))
    .table_valued(column("id", Uuid), column("due_at", DateTime(timezone=True)))
    .render_derived(name="n")
)
_RESCHEDULE = update(StepRow).values({StepRow.due_at: _DUE.c.due_at}).where(StepRow.id == _DUE.c.id)


def start_waiting_steps(connection: Connection, request_ids: Collection[UUID], now: datetime) -> None:
    """Make later systems' steps due in these locked requests, because earlier systems had their effect."""
    if request_ids:
        execute(connection, _START_WAITING, {"ids": uuid_array(request_ids), "now": now})


_START_WAITING = load_sql(__package__, "start_waiting_steps")


def retry_after_recovery(connection: Connection, system: str) -> None:
    """Make steps that wait after an error due now, because their system answers again.

    Locked steps are skipped."""
    execute(connection, _RETRY_AFTER_RECOVERY, {"system": system})


_PAUSED = (
    select(StepRow.id)
    .where(
        StepRow.system == bindparam("system"),
        StepRow.state == literal_column("'due'"),
        StepRow.consecutive_attempts > 0,
        StepRow.due_at > func.clock_timestamp(),
    )
    .order_by(StepRow.id)
    .with_for_update(key_share=True, skip_locked=True)
)
_RETRY_AFTER_RECOVERY = update(StepRow).where(StepRow.id.in_(_PAUSED)).values(due_at=func.clock_timestamp())


def look_after_callback(
    connection: Connection,
    system: str,
    *,
    job_hashes: Sequence[bytes] | None,
    pause_seconds: float,
    delay_seconds: float,
    limit: int,
) -> int:
    """Make accepted steps that wait for these jobs (None: for any job) due sooner; return how many."""
    values = {
        "system": system,
        "hashes": None if job_hashes is None else list(job_hashes),
        "pause": pause_seconds,
        "delay": delay_seconds,
        "most": limit,
    }
    return execute(connection, _LOOK_AFTER_CALLBACK, values).rowcount


_LOOK_AFTER_CALLBACK = load_sql(__package__, "look_after_callback")


def note_late_effect(connection: Connection, step_ids: Collection[UUID], *, in_erase: bool, now: datetime) -> None:
    """Make these locked steps due for a look after a late result; an erase may have had an effect.

    Only due and accepted steps; the state doesn't change, so that the entry about the late result is the caller's.
    """
    values = {"ids": uuid_array(step_ids), "in_erase": in_erase, "now": now}
    execute(connection, _NOTE_LATE_EFFECT, values)


_NOTE_LATE_EFFECT = (
    update(StepRow)
    .where(
        StepRow.id == func.any(array_parameter("ids", Uuid())),
        StepRow.state.in_([literal_column("'due'"), literal_column("'accepted'")]),
    )
    .values(
        effect_possible=or_(StepRow.effect_possible, cast(bindparam("in_erase", type_=NullType()), Boolean)),
        due_at=cast(bindparam("now", type_=NullType()), DateTime(timezone=True)),
    )
)


def write_jobs(connection: Connection, jobs: Mapping[UUID, Collection[bytes]]) -> None:
    """Write which jobs of the vendor each locked step waits for, as keyed hashes; none removes them."""
    if not jobs:
        return
    pairs = [(step_id, one) for step_id, hashes in jobs.items() for one in _or_none(hashes)]
    values = {"ids": uuid_array(step_id for step_id, _ in pairs), "hashes": [one for _, one in pairs]}
    execute(connection, _WRITE_JOBS, values)


def _or_none(hashes: Collection[bytes]) -> list[bytes | None]:
    return [*sorted(hashes)] or [None]


_JOBS = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("hashes", LargeBinary()))
    .table_valued(column("id", Uuid), column("hash", LargeBinary))
    .render_derived(name="u")
)
_JOBS_OF_STEPS = (
    select(_JOBS.c.id, func.array_agg(_JOBS.c.hash).filter(_JOBS.c.hash.is_not(None)).label("hashes"))
    .group_by(_JOBS.c.id)
    .subquery("n")
)
_WRITE_JOBS = (
    update(StepRow).values({StepRow.job_hashes: _JOBS_OF_STEPS.c.hashes}).where(StepRow.id == _JOBS_OF_STEPS.c.id)
)


def enter_plan(connection: Connection, versions: Mapping[UUID, int]) -> None:
    """Write the plan version that these locked steps belong to; they don't begin with it."""
    if versions:
        execute(connection, _ENTER_PLAN, {"ids": uuid_array(versions), "versions": int_array(versions.values())})


_VERSIONS = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("versions", Integer()))
    .table_valued(column("id", Uuid), column("version", Integer))
    .render_derived(name="n")
)
_ENTER_PLAN = update(StepRow).values({StepRow.plan_version: _VERSIONS.c.version}).where(StepRow.id == _VERSIONS.c.id)


def leave_plan(connection: Connection, step_ids: Collection[UUID]) -> None:
    """Take these locked steps out of their plan version: the next version holds what their searches added."""
    execute(connection, _LEAVE_PLAN, {"ids": uuid_array(step_ids)})


_LEAVE_PLAN = update(StepRow).where(StepRow.id == func.any(array_parameter("ids", Uuid()))).values(plan_version=null())
_OF_REQUEST = StepRow.request_id == bindparam("request")


def write_deadline(connection: Connection, request_id: UUID, respond_by: datetime) -> None:
    """Change the deadline of a locked request's unfinished steps."""
    execute(connection, _WRITE_DEADLINE, {"request": request_id, "deadline": respond_by})


_UNFINISHED = (_OF_REQUEST, StepRow.ended_at.is_(None))
_WRITE_DEADLINE = update(StepRow).where(*_UNFINISHED).values(respond_by=bindparam("deadline"))


def write_queue(connection: Connection, request_id: UUID, queue: UUID) -> None:
    """Move a locked request's unfinished steps to another queue."""
    execute(connection, _WRITE_QUEUE, {"request": request_id, "queue": queue})


_WRITE_QUEUE = update(StepRow).where(*_UNFINISHED).values(fair_queue=bindparam("queue"))


def destroy_records(connection: Connection, request_id: UUID) -> None:
    """Remove the sealed record ids of a request that is being sealed."""
    execute(connection, _DESTROY_RECORDS, {"request": request_id})


_DESTROY_RECORDS = update(StepRow).where(_OF_REQUEST).values(records=null())
