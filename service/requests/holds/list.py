"""Show holds: how many identifiers of which kinds they cover, never whose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain.errors import NotFound
from service.requests.holds.store import HoldCounts, read_hold, read_holds
from service.store.stores import Stores

MOST_HOLDS = 1000


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
        return [_view(hold) for hold in read_holds(connection, include_lifted=include_lifted, limit=MOST_HOLDS)]


def show_hold(stores: Stores, hold_id: UUID) -> HoldView:
    """One hold, lifted or not. Raises NotFound."""
    with stores.engine.begin() as connection:
        row = read_hold(connection, hold_id)
    if row is None:
        raise NotFound("there is no such hold")
    return _view(row)


def _view(hold: HoldCounts) -> HoldView:
    return HoldView(**{**hold._asdict(), "kinds": list(hold.kinds)})
