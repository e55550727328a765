"""List requests, newest first, page by page, without anything personal.

Decides the filters and what a reader sees of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from connectors.base.transitions.states import ENDED
from service.store.pagination import cursor_behind, read_cursor
from service.store.stores import Stores


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None doesn't narrow."""

    state: str | None = None
    reason: str | None = None
    kind: str | None = None
    regime: str | None = None
    overdue: bool | None = None
    parked: bool | None = None
    external_reference: str | None = None
    import_id: UUID | None = None
    respond_before: datetime | None = None


@dataclass(frozen=True)
class RequestSummary:
    """A request in one line."""

    id: UUID
    kind: str
    regime: str
    state: str
    reason: str | None
    received_at: datetime
    respond_by: datetime
    extended: bool
    overdue: bool
    sealed: bool
    external_reference: str | None
    duplicate_of: UUID | None
    steps: int
    steps_ended: int
    steps_parked: int


@dataclass(frozen=True)
class Page:
    """Some requests, and the cursor of the next page; None on the last."""

    requests: list[RequestSummary]
    next_cursor: str | None


# Each filter is a condition of its own, so that the planner isn't asked about those that nobody gave.
_CONDITIONS = {
    "state": "r.state = :state",
    "reason": "r.reason = :reason",
    "kind": "r.kind = :kind",
    "regime": "r.regime = :regime",
    "overdue": "(r.overdue_at IS NOT NULL) = :overdue",
    "parked": "EXISTS (SELECT 1 FROM steps p WHERE p.request_id = r.id AND p.state = 'parked') = :parked",
    "external_reference": "r.external_reference = :external_reference",
    "import_id": "r.import_id = :import_id",
    "respond_before": "r.respond_by < :respond_before",
}


def list_requests(stores: Stores, filters: Filters, *, limit: int, cursor: str | None = None) -> Page:
    """One page. Raises Invalid for a cursor that isn't one of ours."""
    after = None if cursor is None else read_cursor(cursor)
    given = {name: getattr(filters, name) for name in _CONDITIONS if getattr(filters, name) is not None}
    conditions = [_CONDITIONS[name] for name in given]
    parameters: dict[str, Any] = {**given, "n": limit + 1, "ended": [state.value for state in ENDED]}
    if after is not None:
        conditions.append("(r.created_at, r.id) < (:after_at, :after_id)")
        parameters |= {"after_at": after.created_at, "after_id": after.id}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    query = (
        "WITH page AS MATERIALIZED (SELECT r.* FROM requests r"  # noqa: S608 - conditions from the table above
        f" {where} ORDER BY r.created_at DESC, r.id DESC LIMIT :n)"
        " SELECT page.*, c.steps, c.ended, c.parked FROM page CROSS JOIN LATERAL (SELECT count(*) AS steps,"
        " count(*) FILTER (WHERE s.state = ANY(CAST(:ended AS text[]))) AS ended,"
        " count(*) FILTER (WHERE s.state = 'parked') AS parked FROM steps s WHERE s.request_id = page.id) c"
        " ORDER BY page.created_at DESC, page.id DESC"
    )
    with stores.engine.begin() as connection:
        rows = connection.execute(text(query), parameters).all()
    shown = rows[:limit]
    more = len(rows) > limit
    return Page([_summary(row) for row in shown], cursor_behind(shown[-1].created_at, shown[-1].id) if more else None)


def _summary(row: Row[Any]) -> RequestSummary:
    return RequestSummary(
        id=row.id,
        kind=row.kind,
        regime=row.regime,
        state=row.state,
        reason=row.reason,
        received_at=row.received_at,
        respond_by=row.respond_by,
        extended=row.extended_at is not None,
        overdue=row.overdue_at is not None,
        sealed=row.sealed_at is not None,
        external_reference=row.external_reference,
        duplicate_of=row.duplicate_of,
        steps=row.steps,
        steps_ended=row.ended,
        steps_parked=row.parked,
    )
