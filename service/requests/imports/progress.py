"""Follow imports: a list, one with its requests counted by state, and the lines that were refused.

Decides what a reader sees of an import. Its requests are listed by `list_requests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain.errors import NotFound
from service.requests.imports.store import (
    StoredImport,
    count_refused,
    count_requests,
    read_import,
    read_imports,
    read_refusals,
)
from service.store.pagination import cursor_behind, read_cursor
from service.store.stores import Stores


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
    """An error at one place of a line."""

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
    after = None if cursor is None else read_cursor(cursor)
    place = None if after is None else (after.created_at, after.id)
    with stores.engine.begin() as connection:
        rows = read_imports(connection, limit=limit + 1, after=place)
    shown = rows[:limit]
    more = cursor_behind(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
    return ImportPage([_summary(row) for row in shown], more)


def show_import(stores: Stores, import_id: UUID) -> ImportView:
    """One consistent view. Raises NotFound."""
    with stores.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        row = read_import(connection, import_id)
        if row is None:
            raise NotFound("there is no such import")
        states = count_requests(connection, import_id)
        refused = count_refused(connection, import_id)
    return ImportView(
        id=row.id,
        state=row.state,
        format=row.format,
        created_at=row.created_at,
        received_at=row.received_at,
        accepted=row.accepted,
        requests=[StateCount(each.state, each.reason, each.requests) for each in states],
        overdue=sum(each.overdue for each in states),
        refused=refused,
    )


def summarise_import(stores: Stores, import_id: UUID) -> ImportSummary:
    """One import in one line. Raises NotFound."""
    with stores.engine.begin() as connection:
        row = read_import(connection, import_id)
    if row is None:
        raise NotFound("there is no such import")
    return _summary(row)


def list_refused(stores: Stores, import_id: UUID, *, after: int, limit: int) -> RefusedPage:
    """Lines behind number `after` that stand refused. Raises NotFound."""
    with stores.engine.begin() as connection:
        if read_import(connection, import_id) is None:
            raise NotFound("there is no such import")
        rows = read_refusals(connection, import_id, after=after, limit=limit + 1)
    lines = [RefusedLine(row.line, row.code, [PlaceError(**error) for error in row.errors]) for row in rows[:limit]]
    return RefusedPage(lines, lines[-1].line if len(rows) > limit else None)


def _summary(row: StoredImport) -> ImportSummary:
    return ImportSummary(row.id, row.state, row.format, row.created_at, row.received_at, row.accepted)
