"""Read and write plans, suppression entries and request checks; open and lock a plan's steps.

Decides nothing; the caller holds the requests' locks where a function says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Connection,
    DateTime,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import aliased
from sqlalchemy.types import NullType

from connectors.base.transitions.states import Phase, StepState
from service.store.arrays import (
    BinaryArray,
    array_parameter,
    bool_array,
    int_array,
    nullable_array,
    timestamp_array,
    uuid_array,
)
from service.store.execute import execute
from service.store.tables.requests import IdentifierRow, PlanRow, RequestRow, SuppressionRow
from service.store.tables.work import RequestCheckRow, StepRow, SystemRow


class NewPlan(NamedTuple):
    """One version of a request's plan that is to be written. `reasons`: why it needs a second person."""

    request_id: UUID
    version: int
    hash: str
    reasons: Sequence[str]


def insert_plans(connection: Connection, plans: Sequence[NewPlan], frozen_at: datetime) -> None:
    """Write these plans in one statement."""
    values = {
        "ids": uuid_array(plan.request_id for plan in plans),
        "versions": int_array(plan.version for plan in plans),
        "now": frozen_at,
        "hashes": BinaryArray(plan.hash for plan in plans),
        "reasons": BinaryArray(",".join(plan.reasons) for plan in plans),
    }
    execute(connection, _INSERT_PLANS, values)


_PLANS = (
    func.unnest(
        array_parameter("ids", Uuid()),
        array_parameter("versions", Integer()),
        array_parameter("hashes", Text()),
        array_parameter("reasons", Text()),
    )
    .table_valued(column("id", Uuid), column("version", Integer), column("hash", Text), column("reasons", Text))
    .render_derived(name="n")
)
_INSERT_PLANS = insert(PlanRow).from_select(
    ["request_id", "version", "hash", "frozen_at", "approval_reasons"],
    select(
        _PLANS.c.id,
        _PLANS.c.version,
        _PLANS.c.hash,
        cast(bindparam("now", type_=NullType()), DateTime(timezone=True)),
        func.string_to_array(_PLANS.c.reasons, literal_column("','")),
    ),
    include_defaults=False,
)


class StoredPlan(NamedTuple):
    """One frozen version of a request's plan."""

    version: int
    hash: str
    frozen_at: datetime
    approval_reasons: Sequence[str]
    approved_at: datetime | None


def read_plan(connection: Connection, request_id: UUID, version: int) -> StoredPlan | None:
    """Return this version of the request's plan; None if it isn't frozen."""
    row = execute(connection, _READ_PLAN, {"request": request_id, "version": version}).one_or_none()
    return None if row is None else StoredPlan._make(row)


def lock_plan(connection: Connection, request_id: UUID, version: int) -> StoredPlan:
    """Lock and return this version of the request's plan, which is frozen."""
    return StoredPlan._make(execute(connection, _LOCK_PLAN, {"request": request_id, "version": version}).one())


_OF_VERSION = (PlanRow.request_id == bindparam("request"), PlanRow.version == bindparam("version"))
_READ_PLAN = select(*(PlanRow.__table__.c[name] for name in StoredPlan._fields)).where(*_OF_VERSION)
_LOCK_PLAN = _READ_PLAN.with_for_update(key_share=True)


def approve_version(connection: Connection, request_id: UUID, version: int, *, by: UUID, at: datetime) -> None:
    """Write which API key approved this version of a locked plan. The caller writes the request's entry."""
    execute(connection, _APPROVE, {"request": request_id, "plan": version, "by": by, "now": at})


_APPROVE = (
    update(PlanRow)
    .where(PlanRow.request_id == bindparam("request"), PlanRow.version == bindparam("plan"))
    .values({PlanRow.approved_by: bindparam("by"), PlanRow.approved_at: bindparam("now")})
)


def remove_entries(connection: Connection, request_ids: Sequence[UUID], at: datetime) -> Counter[UUID]:
    """Take what these requests put on the suppression list off it. Return how many entries of each."""
    rows = execute(connection, _REMOVE_ENTRIES, {"ids": uuid_array(request_ids), "now": at}).scalars()
    return Counter(rows)


_REMOVE_ENTRIES = (
    update(SuppressionRow)
    .where(SuppressionRow.request_id == func.any(array_parameter("ids", Uuid())), SuppressionRow.removed_at.is_(None))
    .values({SuppressionRow.removed_at: bindparam("now")})
    .returning(SuppressionRow.request_id)
)


def plans_with_others(connection: Connection, request_ids: Collection[UUID]) -> frozenset[UUID]:
    """Return the re-appearances whose plan has an identifier that the earlier request had not on the list."""
    return frozenset(execute(connection, _WITH_OTHERS, {"ids": uuid_array(request_ids)}).scalars())


_ORIGIN = aliased(RequestRow, name="o")
_ON_LIST = (
    select(1)
    .select_from(SuppressionRow)
    .join(_ORIGIN, _ORIGIN.id == SuppressionRow.request_id)
    .where(
        SuppressionRow.keyed_hash == IdentifierRow.keyed_hash,
        SuppressionRow.removed_at.is_(None),
        _ORIGIN.id != RequestRow.id,
        or_(RequestRow.reappearance_of == _ORIGIN.id, RequestRow.reappearance_of == _ORIGIN.reappearance_of),
    )
    .correlate(IdentifierRow, RequestRow)
)
_OTHERS = (
    select(1)
    .select_from(IdentifierRow)
    .where(
        IdentifierRow.request_id == RequestRow.id, IdentifierRow.use == literal_column("'planned'"), ~exists(_ON_LIST)
    )
    .correlate(RequestRow)
)
_WITH_OTHERS = select(RequestRow.id).where(RequestRow.id == func.any(array_parameter("ids", Uuid())), exists(_OTHERS))


def connectors_of_systems(connection: Connection) -> dict[str, str]:
    """Return every system with the name of its connector."""
    return dict(execute(connection, _CONNECTORS).all())


_CONNECTORS = select(SystemRow.name, SystemRow.connector)


def active_positions(connection: Connection) -> list[tuple[str, int]]:
    """Return the active systems with their positions, in their order."""
    return [(row.name, row.position) for row in execute(connection, _ACTIVE).all()]


_ACTIVE = (
    select(SystemRow.name, SystemRow.position)
    .where(SystemRow.state == literal_column("'active'"))
    .order_by(SystemRow.position, SystemRow.name)
)


class StoredStep(NamedTuple):
    """The columns of a step's row that freezing and releasing a plan read.

    `counts`: NULL instead of '{}', because the column is usually empty and psycopg parses every JSON value."""

    id: UUID
    request_id: UUID
    system: str
    position: int
    phase: str
    state: str
    located: bool
    plan_version: int | None
    record_hashes: Sequence[bytes]
    counts: Mapping[str, int] | None
    version: int
    entry_hash: bytes | None


def lock_plan_steps(connection: Connection, request_ids: Collection[UUID]) -> dict[UUID, list[StoredStep]]:
    """Lock all steps of these requests, by id, and return them by request and position."""
    rows = execute(connection, _LOCK_STEPS, {"ids": uuid_array(request_ids)}).all()
    found: dict[UUID, list[StoredStep]] = {request_id: [] for request_id in request_ids}
    for step in sorted((StoredStep._make(row) for row in rows), key=lambda step: (step.position, step.id)):
        found[step.request_id].append(step)
    return found


_COUNTS = func.nullif(StepRow.counts, literal_column("'{}'"), type_=JSONB).label("counts")
_LOCK_STEPS = (
    select(*(_COUNTS if name == "counts" else StepRow.__table__.c[name] for name in StoredStep._fields))
    .where(StepRow.request_id == func.any(array_parameter("ids", Uuid())))
    .order_by(StepRow.id)
    .with_for_update(key_share=True)
)


class StepInsert(NamedTuple):
    """The row of a new step."""

    id: UUID
    request_id: UUID
    system: str
    position: int
    phase: Phase
    state: StepState
    reason: str | None
    due_at: datetime | None
    respond_by: datetime
    queue: UUID
    located: bool
    waits_for_order: bool
    plan_version: int | None


def insert_steps(connection: Connection, rows: Sequence[StepInsert]) -> None:
    """Write these steps in one statement."""
    if not rows:
        return
    values = {
        "ids": uuid_array(row.id for row in rows),
        "requests": uuid_array(row.request_id for row in rows),
        "systems": BinaryArray(row.system for row in rows),
        "positions": int_array(row.position for row in rows),
        "phases": BinaryArray(row.phase for row in rows),
        "states": BinaryArray(row.state for row in rows),
        "reasons": nullable_array([row.reason for row in rows]),
        "dues": timestamp_array(row.due_at for row in rows),
        "deadlines": timestamp_array(row.respond_by for row in rows),
        "queues": uuid_array(row.queue for row in rows),
        "located": int_array(row.located for row in rows),
        "waits": bool_array(row.waits_for_order for row in rows),
        "versions": int_array(row.plan_version for row in rows),
    }
    execute(connection, _INSERT_STEPS, values)


_NEW_STEPS = (
    func.unnest(
        array_parameter("ids", Uuid()),
        array_parameter("requests", Uuid()),
        array_parameter("systems", Text()),
        array_parameter("positions", Integer()),
        array_parameter("phases", Text()),
        array_parameter("states", Text()),
        array_parameter("reasons", Text()),
        array_parameter("dues", DateTime(timezone=True)),
        array_parameter("deadlines", DateTime(timezone=True)),
        array_parameter("queues", Uuid()),
        array_parameter("located", Boolean()),
        array_parameter("waits", Boolean()),
        array_parameter("versions", Integer()),
    )
    .table_valued(
        column("id", Uuid),
        column("request_id", Uuid),
        column("system", Text),
        column("position", Integer),
        column("phase", Text),
        column("state", Text),
        column("reason", Text),
        column("due_at", DateTime(timezone=True)),
        column("respond_by", DateTime(timezone=True)),
        column("fair_queue", Uuid),
        column("located", Boolean),
        column("waits_for_order", Boolean),
        column("plan_version", Integer),
    )
    .render_derived(name="n")
)
_INSERT_STEPS = insert(StepRow).from_select(
    [each.name for each in _NEW_STEPS.c], select(*_NEW_STEPS.c), include_defaults=False
)


def steps_before_others(connection: Connection, step_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these steps whose request has a step in a later position."""
    if not step_ids:
        return set()
    return set(execute(connection, _BEFORE_OTHERS, {"ids": uuid_array(step_ids)}).scalars())


_ASKED = func.unnest(array_parameter("ids", Uuid())).table_valued(column("id", Uuid)).render_derived(name="asked")
_LATER = aliased(StepRow, name="b")
_BEFORE_OTHERS = (
    select(StepRow.id)
    .select_from(_ASKED)
    .join(StepRow, StepRow.id == _ASKED.c.id)
    .where(
        exists(
            select(1)
            .select_from(_LATER)
            .where(_LATER.request_id == StepRow.request_id, _LATER.position > StepRow.position)
            .correlate(StepRow)
        )
    )
)


def take_oldest_checks(connection: Connection, limit: int) -> list[UUID]:
    """Delete the oldest due request checks and return the requests that they name.

    Checks that another transaction is just taking are left to it, so that nothing waits for them.
    """
    return execute(connection, _TAKE_OLDEST, {"n": limit}).scalars()


def take_checks_of(connection: Connection, request_id: UUID) -> None:
    """Delete the request's own checks in the same way."""
    execute(connection, _TAKE_OF_ONE, {"request": request_id})


# The rows are named by their place (ctid), because a join may take anew for each row that it reads.
_OLDEST = (
    select(column("ctid", Text))
    .select_from(RequestCheckRow)
    .where(RequestCheckRow.look_at <= select(func.clock_timestamp()).scalar_subquery())
    .order_by(RequestCheckRow.id)
    .limit(bindparam("n"))
    .with_for_update(key_share=True, skip_locked=True)
)
_OF_ONE = (
    select(column("ctid", Text))
    .select_from(RequestCheckRow)
    .where(RequestCheckRow.request_id == bindparam("request"))
    .with_for_update(key_share=True, skip_locked=True)
)
_TAKE_OLDEST = (
    delete(RequestCheckRow)
    .where(column("ctid", Text) == func.any(func.array(_OLDEST.scalar_subquery())))
    .returning(RequestCheckRow.request_id)
)
_TAKE_OF_ONE = delete(RequestCheckRow).where(column("ctid", Text) == func.any(func.array(_OF_ONE.scalar_subquery())))
