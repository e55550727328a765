"""List unfinished steps page by page, without personal data, with their reasons.

Decides the filters and the order (system, id). Ended steps are shown with their request.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    Uuid,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from connectors.base.transitions.states import ListedState, StepState
from service.domain.errors import Invalid, NotFound
from service.domain.execution.parked_reasons import Explanation, explain
from service.store.stores import Stores
from service.store.tables.work import AttemptRow, StepRow

_CURSOR = re.compile(r"([a-z][a-z0-9_-]{0,39})/([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True)
class StepFilters:
    """The filters of the list. `reason` is a whole reason, or its part before the colon."""

    state: ListedState = ListedState.PARKED
    system: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class StepLine:
    """A step in one line, with the newest attempt's end. `explanation` is there while it is parked."""

    id: UUID
    request_id: UUID
    system: str
    phase: str
    state: str
    reason: str | None
    explanation: Explanation | None
    due_at: datetime | None
    respond_by: datetime
    overdue: bool
    attempts: int
    effect_possible: bool
    last_tried_at: datetime | None
    last_code: str | None
    last_http_status: int | None


class _ListedStep(NamedTuple):
    """A step's row with the end of its newest ended attempt."""

    id: UUID
    request_id: UUID
    system: str
    phase: str
    state: str
    reason: str | None
    due_at: datetime | None
    respond_by: datetime
    attempts: int
    effect_possible: bool
    ended_at: datetime | None
    overdue: bool
    last_tried_at: datetime | None
    last_code: str | None
    last_http_status: int | None


_OF_STEP = _ListedStep._fields[: _ListedStep._fields.index("overdue")]


@dataclass(frozen=True)
class StepPage:
    """Some steps, and the cursor of the next page; None on the last."""

    steps: list[StepLine]
    next_cursor: str | None


_OPEN = StepRow.state.in_([literal_column("'due'"), literal_column("'accepted'")])
_UNBATCHED, _BATCHED = StepRow.batch_id.is_(None), StepRow.batch_id.is_not(None)
# The states are literals, and each condition is that of a partial index, so that the planner can use it.
_INDEXED: Mapping[ListedState, Sequence[tuple[ColumnElement[bool], ...]]] = {
    ListedState.PARKED: [(StepRow.state == literal_column("'parked'"),)],
    ListedState.DUE: [(StepRow.state == literal_column("'due'"), _OPEN, part) for part in (_UNBATCHED, _BATCHED)],
    ListedState.LEASED: [(StepRow.state == literal_column("'leased'"), _BATCHED)],
    ListedState.ACCEPTED: [
        (StepRow.state == literal_column("'accepted'"), _OPEN, part) for part in (_UNBATCHED, _BATCHED)
    ],
}


def list_steps(stores: Stores, filters: StepFilters, *, limit: int, cursor: str | None = None) -> StepPage:
    """One page. Raises Invalid for a cursor that isn't one of ours."""
    conditions: list[ColumnElement[bool]] = []
    if filters.system is not None:
        conditions.append(StepRow.system == filters.system)
    if filters.reason is not None:
        word = func.split_part(StepRow.reason, ":", 1)
        conditions.append(or_(StepRow.reason == filters.reason, word == filters.reason))
    if cursor is not None:
        after_system, after_id = _read_cursor(cursor)
        place = tuple_(literal(after_system, Text()), literal(after_id, Uuid()))
        conditions.append(tuple_(StepRow.system, StepRow.id) > place)
    parts = [
        select(StepRow.__table__).where(*indexed, *conditions).order_by(StepRow.system, StepRow.id).limit(limit + 1)
        for indexed in _INDEXED[filters.state]
    ]
    found = union_all(*parts).subquery("u")
    page = select(found).order_by(found.c.system, found.c.id).limit(limit + 1)
    with stores.engine.begin() as connection:
        rows = [_ListedStep._make(row) for row in connection.execute(_with_newest_attempt(page))]
    shown = rows[:limit]
    return StepPage([_line(row) for row in shown], _cursor_behind(shown[-1]) if len(rows) > limit else None)


def show_step(stores: Stores, step_id: UUID) -> StepLine:
    """One step, ended or not. Raises NotFound."""
    step = select(StepRow.__table__).where(StepRow.id == step_id)
    with stores.engine.begin() as connection:
        row = connection.execute(_with_newest_attempt(step)).one_or_none()
    if row is None:
        raise NotFound("there is no such step")
    return _line(_ListedStep._make(row))


def _with_newest_attempt(steps: Select[*tuple[object, ...]]) -> Select[*tuple[object, ...]]:
    """Join each of these steps with its newest ended attempt.

    The steps are materialised, so that attempts are read for one page only.
    """
    page = steps.cte("page").prefix_with("MATERIALIZED")
    newest = (
        select(AttemptRow.ended_at, AttemptRow.code, AttemptRow.http_status)
        .where(AttemptRow.step_id == page.c.id, AttemptRow.ended_at.is_not(None))
        .order_by(AttemptRow.number.desc())
        .limit(1)
        .lateral("a")
    )
    return (
        select(
            *(page.c[name] for name in _OF_STEP),
            (page.c.respond_by < func.clock_timestamp()).label("overdue"),
            newest.c.ended_at.label("last_tried_at"),
            newest.c.code.label("last_code"),
            newest.c.http_status.label("last_http_status"),
        )
        .select_from(page.outerjoin(newest, true()))
        .order_by(page.c.system, page.c.id)
    )


def _line(row: _ListedStep) -> StepLine:
    parked = row.state == StepState.PARKED
    return StepLine(
        id=row.id,
        request_id=row.request_id,
        system=row.system,
        phase=row.phase,
        state=row.state,
        reason=row.reason,
        explanation=explain(row.reason or "") if parked else None,
        due_at=row.due_at,
        respond_by=row.respond_by,
        overdue=row.overdue and row.ended_at is None,
        attempts=row.attempts,
        effect_possible=row.effect_possible,
        last_tried_at=row.last_tried_at,
        last_code=row.last_code,
        last_http_status=row.last_http_status,
    )


def _cursor_behind(row: _ListedStep) -> str:
    return base64.urlsafe_b64encode(f"{row.system}/{row.id.hex}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, UUID]:
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        match = _CURSOR.fullmatch(decoded)
        if match is not None:
            return match[1], UUID(match[2])
    except (binascii.Error, ValueError):
        pass
    raise Invalid("not a cursor of this list", field="query/cursor") from None
