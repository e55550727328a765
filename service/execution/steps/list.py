"""List steps that haven't ended, page by page and without anything personal: what waits, for whom, and why.

Decides the filters and the order (system, id). Ended steps stand with their request; nobody looks for them here.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from service.domain.errors import Invalid, NotFound
from service.domain.execution.parked_reasons import Explanation, explain
from service.domain.execution.states import ListedState, StepState
from service.store.stores import Stores

_CURSOR = re.compile(r"([a-z][a-z0-9_-]{0,39})/([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True)
class StepFilters:
    """What the list is narrowed to. `reason` is a whole reason, or its word before the colon."""

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


@dataclass(frozen=True)
class StepPage:
    """Some steps, and the cursor of the next page; None on the last."""

    steps: list[StepLine]
    next_cursor: str | None


# The states are written out so that each finds its own partial index.
_STATES = {
    ListedState.PARKED: "s.state = 'parked'",
    ListedState.DUE: "s.state = 'due' AND s.state IN ('due', 'accepted') AND {place}",
    ListedState.LEASED: "s.state = 'leased' AND s.batch_id IS NOT NULL",
    ListedState.ACCEPTED: "s.state = 'accepted' AND s.state IN ('due', 'accepted') AND {place}",
}
_PLACES = ("s.batch_id IS NULL", "s.batch_id IS NOT NULL")
_LINE = (
    "SELECT p.*, p.respond_by < clock_timestamp() AS overdue, a.ended_at AS last_tried_at, a.code AS last_code,"
    " a.http_status AS last_http_status FROM page p LEFT JOIN LATERAL (SELECT ended_at, code, http_status FROM attempts"
    " WHERE step_id = p.id AND ended_at IS NOT NULL ORDER BY number DESC LIMIT 1) a ON true ORDER BY p.system, p.id"
)


def list_steps(stores: Stores, filters: StepFilters, *, limit: int, cursor: str | None = None) -> StepPage:
    """One page. Raises Invalid for a cursor that isn't one of ours."""
    conditions = ["true"]
    values: dict[str, Any] = {"n": limit + 1}
    if filters.system is not None:
        conditions.append("s.system = :system")
        values["system"] = filters.system
    if filters.reason is not None:
        conditions.append("(s.reason = :reason OR split_part(s.reason, ':', 1) = :reason)")
        values["reason"] = filters.reason
    if cursor is not None:
        values["after_system"], values["after_id"] = _read_cursor(cursor)
        conditions.append("(s.system, s.id) > (:after_system, :after_id)")
    state = _STATES[filters.state]
    parts = [state.replace("{place}", place) for place in _PLACES] if "{place}" in state else [state]
    page = " UNION ALL ".join(
        f"(SELECT s.* FROM steps s WHERE {part} AND {' AND '.join(conditions)}"  # noqa: S608 - our own texts
        " ORDER BY s.system, s.id LIMIT :n)"
        for part in parts
    )
    query = f"WITH page AS MATERIALIZED (SELECT * FROM ({page}) AS u ORDER BY system, id LIMIT :n) {_LINE}"  # noqa: S608
    with stores.engine.begin() as connection:
        rows = connection.execute(text(query), values).all()
    shown = rows[:limit]
    return StepPage([_line(row) for row in shown], _cursor_behind(shown[-1]) if len(rows) > limit else None)


def show_step(stores: Stores, step_id: UUID) -> StepLine:
    """One step, ended or not. Raises NotFound."""
    query = f"WITH page AS MATERIALIZED (SELECT * FROM steps WHERE id = :id) {_LINE}"  # noqa: S608 - our own text
    with stores.engine.begin() as connection:
        row = connection.execute(text(query), {"id": step_id}).one_or_none()
    if row is None:
        raise NotFound("there is no such step")
    return _line(row)


def _line(row: Row[Any]) -> StepLine:
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


def _cursor_behind(row: Row[Any]) -> str:
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
