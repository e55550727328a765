"""Read requests for the people who ask: the list, the look-up by keyed hash, the steps of one request.

Decides nothing: `list.py`, `lookup_subject.py` and `show.py` say what a reader sees of a row. Locks nothing; the stores
of `records` and `steps` read the rows that a decision needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
)

from connectors.base.transitions.states import ENDED
from service.store.execute import execute
from service.store.locking import EVERY_GAP
from service.store.pagination import Place
from service.store.tables.requests import IdentifierRow, RequestRow, SuppressionRow
from service.store.tables.work import AttemptRow, StepRow, SystemRow

_REQUEST, _STEP = RequestRow.__table__, StepRow.__table__
_PARKED = StepRow.state == literal_column("'parked'")


@dataclass(frozen=True)
class Filters:
    """The conditions of a list; None is no condition."""

    state: str | None = None
    reason: str | None = None
    kind: str | None = None
    regime: str | None = None
    overdue: bool | None = None
    parked: bool | None = None
    external_reference: str | None = None
    import_id: UUID | None = None
    respond_before: datetime | None = None


class ListedRequest(NamedTuple):
    """The columns of a request that a list reads, and the numbers of its steps."""

    id: UUID
    kind: str
    regime: str
    state: str
    reason: str | None
    received_at: datetime
    created_at: datetime
    respond_by: datetime
    extended_at: datetime | None
    overdue_at: datetime | None
    sealed_at: datetime | None
    external_reference: str | None
    duplicate_of: UUID | None
    steps: int
    ended: int
    parked: int


_LISTED = ListedRequest._fields[: ListedRequest._fields.index("steps")]
_EQUAL = ("state", "reason", "kind", "regime", "external_reference", "import_id")


def list_rows(connection: Connection, filters: Filters, *, after: Place | None, limit: int) -> list[ListedRequest]:
    """Return up to `limit` requests behind a place, newest first.

    The page is materialised, so that steps are counted for its requests only.
    """
    page = (
        select(*(_REQUEST.c[name] for name in _LISTED))
        .where(*_conditions(filters, after))
        .order_by(RequestRow.created_at.desc(), RequestRow.id.desc())
        .limit(limit)
        .cte("page")
        .prefix_with("MATERIALIZED")
    )
    counts = (
        select(
            func.count().label("steps"),
            func.count().filter(StepRow.state.in_([state.value for state in ENDED])).label("ended"),
            func.count().filter(_PARKED).label("parked"),
        )
        .where(StepRow.request_id == page.c.id)
        .lateral("c")
    )
    listed = (
        select(page, counts).select_from(page.join(counts, true())).order_by(page.c.created_at.desc(), page.c.id.desc())
    )
    return [ListedRequest._make(row) for row in connection.execute(listed)]


def _conditions(filters: Filters, after: Place | None) -> Iterator[ColumnElement[bool]]:
    """Yield a condition for each filter that is given, so that the planner sees no other one."""
    for name in _EQUAL:
        if (value := getattr(filters, name)) is not None:
            yield _REQUEST.c[name] == value
    if filters.overdue is not None:
        yield RequestRow.overdue_at.is_not(None) if filters.overdue else RequestRow.overdue_at.is_(None)
    if filters.parked is not None:
        has_parked = exists().where(StepRow.request_id == RequestRow.id, _PARKED)
        yield has_parked if filters.parked else ~has_parked
    if filters.respond_before is not None:
        yield RequestRow.respond_by < filters.respond_before
    if after is not None:
        place = tuple_(literal(after.created_at, _REQUEST.c.created_at.type), literal(after.id, _REQUEST.c.id.type))
        yield tuple_(RequestRow.created_at, RequestRow.id) < place


class FoundRow(NamedTuple):
    """The columns of a request that a look-up by keyed hash reads."""

    id: UUID
    kind: str
    state: str
    reason: str | None
    received_at: datetime
    answered_at: datetime | None
    sealed_at: datetime | None


def find_by_hash(connection: Connection, keyed_hash: bytes, *, limit: int) -> list[FoundRow]:
    """Return the newest requests whose plan holds, or may hold, the identifier with this keyed hash."""
    rows = execute(connection, _BY_HASH, {"hash": keyed_hash, "n": limit}).all()
    return [FoundRow._make(row) for row in rows]


_BY_HASH = (
    select(*(_REQUEST.c[name] for name in FoundRow._fields))
    .where(
        RequestRow.id.in_(
            select(IdentifierRow.request_id).where(
                IdentifierRow.keyed_hash == bindparam("hash"),
                IdentifierRow.use.in_([literal_column("'planned'"), literal_column("'pending'")]),
            )
        )
    )
    .order_by(RequestRow.created_at.desc(), RequestRow.id)
    .limit(bindparam("n", type_=Integer()))
)


def is_suppressed(connection: Connection, keyed_hash: bytes) -> bool:
    """Return True if the suppression list has the identifier with this keyed hash."""
    return bool(execute(connection, _IS_SUPPRESSED, {"hash": keyed_hash}).scalar_one())


_IS_SUPPRESSED = select(
    exists().where(SuppressionRow.keyed_hash == bindparam("hash"), SuppressionRow.removed_at.is_(None))
)


class ShownAttempt(NamedTuple):
    """The columns of an attempt that a reader of its request sees."""

    step_id: UUID
    number: int
    phase: str
    started_at: datetime
    ended_at: datetime | None
    answer: str | None
    code: str | None
    look: str | None


class ShownStep(NamedTuple):
    """The columns of a step that a reader of its request sees.

    `gaps`: those of the step and those of its system.
    """

    id: UUID
    system: str
    phase: str
    state: str
    reason: str | None
    due_at: datetime | None
    ended_at: datetime | None
    consecutive_attempts: int
    erased: Mapping[str, int]
    remaining: Mapping[str, int]
    gaps: Sequence[str]


def read_shown_attempts(connection: Connection, request_id: UUID) -> list[ShownAttempt]:
    """Return all attempts of a request's steps, oldest first."""
    return [ShownAttempt._make(row) for row in execute(connection, _ATTEMPTS, {"request": request_id}).all()]


_ATTEMPTS = (
    select(*(AttemptRow.__table__.c[name] for name in ShownAttempt._fields))
    .join(StepRow, StepRow.id == AttemptRow.step_id)
    .where(StepRow.request_id == bindparam("request"))
    .order_by(AttemptRow.started_at, AttemptRow.number)
)


def read_shown_steps(connection: Connection, request_id: UUID) -> list[ShownStep]:
    """Return the steps of a request in the order of their positions."""
    return [ShownStep._make(row) for row in execute(connection, _SHOWN_STEPS, {"request": request_id}).all()]


_SHOWN_STEPS = (
    select(*(_STEP.c[name] for name in ShownStep._fields if name != "gaps"), EVERY_GAP.label("gaps"))
    .join(SystemRow, SystemRow.name == StepRow.system)
    .where(StepRow.request_id == bindparam("request"))
    .order_by(StepRow.position, StepRow.system)
)
