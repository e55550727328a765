"""Show holds: how many identifiers of which kinds they cover, never whose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from service.domain.errors import NotFound
from service.store.stores import Stores

MOST_HOLDS = 1000
_HOLDS = (
    "SELECT h.id, h.reason, h.until, h.created_at, h.effective_at, h.lifted_at,"
    " count(hh.keyed_hash) AS identifiers, array_agg(DISTINCT hh.kind ORDER BY hh.kind) AS kinds"
    " FROM holds h JOIN hold_hashes hh ON hh.hold_id = h.id"
)
_ALL = text(f"{_HOLDS} WHERE :lifted OR h.lifted_at IS NULL GROUP BY h.id ORDER BY h.created_at DESC, h.id LIMIT :n")
_ONE = text(f"{_HOLDS} WHERE h.id = :id GROUP BY h.id")


@dataclass(frozen=True)
class HoldView:
    """A hold as its readers see it."""

    id: UUID
    reason: str
    until: datetime | None
    created_at: datetime
    effective_at: datetime
    lifted_at: datetime | None
    identifiers: int
    kinds: list[str]


def list_holds(stores: Stores, *, include_lifted: bool = False) -> list[HoldView]:
    """The holds in force, newest first; with `include_lifted` the former ones, too. At most `MOST_HOLDS`."""
    with stores.engine.begin() as connection:
        rows = connection.execute(_ALL, {"lifted": include_lifted, "n": MOST_HOLDS})
        return [_view(row) for row in rows]


def show_hold(stores: Stores, hold_id: UUID) -> HoldView:
    """One hold, lifted or not. Raises NotFound."""
    with stores.engine.begin() as connection:
        row = connection.execute(_ONE, {"id": hold_id}).one_or_none()
    if row is None:
        raise NotFound("there is no such hold")
    return _view(row)


def _view(row: Row[Any]) -> HoldView:
    return HoldView(
        id=row.id,
        reason=row.reason,
        until=row.until,
        created_at=row.created_at,
        effective_at=row.effective_at,
        lifted_at=row.lifted_at,
        identifiers=row.identifiers,
        kinds=list(row.kinds),
    )
