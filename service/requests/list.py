"""List requests, newest first, page by page, without personal data.

Decides what a reader sees of each request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.requests.store import Filters, ListedRequest, list_rows
from service.store.pagination import cursor_behind, read_cursor
from service.store.stores import Stores


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


def list_requests(stores: Stores, filters: Filters, *, limit: int, cursor: str | None = None) -> Page:
    """Return one page. Raises Invalid for a cursor that isn't one of ours."""
    after = None if cursor is None else read_cursor(cursor)
    with stores.engine.begin() as connection:
        rows = list_rows(connection, filters, after=after, limit=limit + 1)
    shown = rows[:limit]
    more = len(rows) > limit
    return Page([_summary(row) for row in shown], cursor_behind(shown[-1].created_at, shown[-1].id) if more else None)


def _summary(row: ListedRequest) -> RequestSummary:
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
