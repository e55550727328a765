"""Follow imports: a list, one with its requests counted by state, and the lines that were refused.

Decides what a reader sees of an import. Its requests are listed by `list_requests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from service.domain.errors import NotFound
from service.store.pagination import cursor_behind, read_cursor
from service.store.stores import Stores

_LIST = "SELECT i.* FROM imports i{where} ORDER BY i.created_at DESC, i.id DESC LIMIT :n"
_FIRST = text(_LIST.format(where=""))
_NEXT = text(_LIST.format(where=" WHERE (i.created_at, i.id) < (:after_at, :after_id)"))
_ONE = text("SELECT * FROM imports WHERE id = :id")
_STATES = text(
    "SELECT state, reason, count(*) AS n, count(*) FILTER (WHERE state IN ('open', 'in_progress')"
    " AND respond_by < clock_timestamp()) AS overdue"
    " FROM requests WHERE import_id = :id GROUP BY state, reason ORDER BY state, reason NULLS FIRST"
)
_REFUSED = text("SELECT count(*) FROM import_refusals WHERE import_id = :id")
_REFUSALS = text(
    "SELECT line, code, errors FROM import_refusals WHERE import_id = :id AND line > :after ORDER BY line LIMIT :n"
)


@dataclass(frozen=True)
class ImportSummary:
    """An import in one line. `received_at`: when its body came whole; None while it hasn't."""

    id: UUID
    state: str
    format: str
    created_at: datetime
    received_at: datetime | None
    accepted: int


@dataclass(frozen=True)
class ImportPage:
    """Some imports, newest first, and the cursor of the next page; None on the last."""

    imports: list[ImportSummary]
    next_cursor: str | None


@dataclass(frozen=True)
class StateCount:
    """How many requests stand so."""

    state: str
    reason: str | None
    requests: int


@dataclass(frozen=True)
class ImportView(ImportSummary):
    """One import: its requests by state, how many of them are late, and how many lines stand refused."""

    requests: list[StateCount]
    overdue: int
    refused: int


@dataclass(frozen=True)
class PlaceError:
    """What is wrong at one place of a line."""

    field: str
    reason: str
    did_you_mean: str | None = None


@dataclass(frozen=True)
class RefusedLine:
    """A line as it was refused when it was last sent."""

    line: int
    code: str
    errors: list[PlaceError]


@dataclass(frozen=True)
class RefusedPage:
    """Refused lines in their order; `next_after` leads to the next ones and is null at the end."""

    lines: list[RefusedLine]
    next_after: int | None


def list_imports(stores: Stores, *, limit: int, cursor: str | None = None) -> ImportPage:
    """One page. Raises Invalid for a cursor that isn't one of ours."""
    statement, values = _FIRST, dict[str, Any](n=limit + 1)
    if cursor is not None:
        after = read_cursor(cursor)
        statement, values = _NEXT, values | {"after_at": after.created_at, "after_id": after.id}
    with stores.engine.begin() as connection:
        rows = connection.execute(statement, values).all()
    shown = rows[:limit]
    more = cursor_behind(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
    return ImportPage([ImportSummary(**_facts(row)) for row in shown], more)


def show_import(stores: Stores, import_id: UUID) -> ImportView:
    """One consistent view. Raises NotFound."""
    with stores.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        row = connection.execute(_ONE, {"id": import_id}).one_or_none()
        if row is None:
            raise NotFound("there is no such import")
        states = connection.execute(_STATES, {"id": import_id}).all()
        refused = connection.execute(_REFUSED, {"id": import_id}).scalar_one()
    return ImportView(
        **_facts(row),
        requests=[StateCount(each.state, each.reason, each.n) for each in states],
        overdue=sum(each.overdue for each in states),
        refused=refused,
    )


def summarise_import(stores: Stores, import_id: UUID) -> ImportSummary:
    """One import in one line. Raises NotFound."""
    with stores.engine.begin() as connection:
        row = connection.execute(_ONE, {"id": import_id}).one_or_none()
    if row is None:
        raise NotFound("there is no such import")
    return ImportSummary(**_facts(row))


def list_refused(stores: Stores, import_id: UUID, *, after: int, limit: int) -> RefusedPage:
    """Lines behind number `after` that stand refused. Raises NotFound."""
    with stores.engine.begin() as connection:
        if connection.execute(_ONE, {"id": import_id}).one_or_none() is None:
            raise NotFound("there is no such import")
        rows = connection.execute(_REFUSALS, {"id": import_id, "after": after, "n": limit + 1}).all()
    lines = [RefusedLine(row.line, row.code, [PlaceError(**error) for error in row.errors]) for row in rows[:limit]]
    return RefusedPage(lines, lines[-1].line if len(rows) > limit else None)


def _facts(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ImportSummary.__dataclass_fields__}
