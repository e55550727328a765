"""List requests, newest first, page by page, without anything personal.

Decides the filters and what a cursor is: the place behind the last row of a page, so that requests which arrive
meanwhile neither move a page nor repeat a row.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from service.domain.outcomes import ENDED
from service.domain.refusals import Invalid
from service.storage.stores import Stores

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})\.([0-9a-f]{32})", re.ASCII)


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
    linked_to: UUID | None
    steps: int
    steps_ended: int
    steps_parked: int


@dataclass(frozen=True)
class Page:
    """Some requests, and the cursor of the next page; None on the last."""

    requests: list[RequestSummary]
    next_cursor: str | None


@dataclass(frozen=True)
class _Place:
    created_at: datetime
    id: UUID


# Each filter is a condition of its own, so that the planner isn't asked about those that nobody gave.
_CONDITIONS = {
    "state": "r.state = :state",
    "reason": "r.reason = :reason",
    "kind": "r.kind = :kind",
    "regime": "r.regime = :regime",
    "overdue": "(r.overdue_at IS NOT NULL) = :overdue",
    "parked": "EXISTS (SELECT 1 FROM steps p WHERE p.request_id = r.id AND p.state = 'parked') = :parked",
    "external_reference": "r.external_reference = :external_reference",
    "respond_before": "r.respond_by < :respond_before",
}


def list_requests(stores: Stores, filters: Filters, *, limit: int, cursor: str | None = None) -> Page:
    """One page. Raises Invalid for a cursor that isn't one of ours."""
    after = None if cursor is None else _read_cursor(cursor)
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
    return Page([_summary(row) for row in shown], _cursor_behind(shown[-1]) if more else None)


def _cursor_behind(row: Row[Any]) -> str:
    microseconds = (row.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds}.{row.id.hex}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> _Place:
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        match = _CURSOR.fullmatch(decoded)
        if match is not None:
            return _Place(_EPOCH + timedelta(microseconds=int(match[1])), UUID(match[2]))
    except (binascii.Error, ValueError, OverflowError):
        pass
    raise Invalid("not a cursor of this list", field="query/cursor") from None


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
        linked_to=row.linked_to,
        steps=row.steps,
        steps_ended=row.ended,
        steps_parked=row.parked,
    )
