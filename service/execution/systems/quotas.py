"""Limits with windows of an hour and more, and limits on people: counted in SQL, once per batch.

What a batch may need is taken before it is leased and what it left is given back afterwards: a process that dies in
between has taken too much, never too little. Under the system's row lock, so that two workers can't take the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from connectors.base.pacing import RateLimit
from service.store.stores import Stores

# A window is counted in so many parts: at most one part's share of the limit lies idle.
_PARTS = 100

_COUNT = text(
    "SELECT coalesce(sum(taken), 0) AS taken, extract(epoch FROM min(begins_at) FILTER (WHERE taken > 0)"
    " + make_interval(secs => :window + :part) - clock_timestamp())::float8 AS frees_in FROM call_counts"
    " WHERE system = :system AND window_seconds = :window AND unit = :unit"
    " AND begins_at > clock_timestamp() - make_interval(secs => :window + :part)"
)
_TAKE = text(
    "INSERT INTO call_counts (system, window_seconds, unit, begins_at, taken) VALUES (:system, :window, :unit,"
    " to_timestamp(floor(extract(epoch FROM clock_timestamp()) / :part) * :part), :taken)"
    " ON CONFLICT (system, window_seconds, unit, begins_at) DO UPDATE SET taken = call_counts.taken + excluded.taken"
    " RETURNING begins_at"
)
_GIVE_BACK = text(
    "UPDATE call_counts SET taken = greatest(taken - :unused, 0)"
    " WHERE system = :system AND window_seconds = :window AND unit = :unit AND begins_at = :begins_at"
)
_FORGET = text(
    "DELETE FROM call_counts WHERE system = :system AND window_seconds = :window AND unit = :unit"
    " AND begins_at < clock_timestamp() - make_interval(secs => 2 * :window)"
)


@dataclass(frozen=True)
class Reservation:
    """`granted` of each limit, to be given back as far as unused. 0: none is free for `wait_seconds`."""

    system: str
    granted: int
    wait_seconds: float = 0.0
    parts: tuple[tuple[RateLimit, datetime], ...] = ()


def reserve(stores: Stores, system: str, limits: Sequence[RateLimit], wanted: int) -> Reservation:
    """Take up to `wanted` calls (or people) of all these limits at once."""
    with stores.engine.begin() as connection:
        connection.execute(text("SELECT 1 FROM systems WHERE name = :s FOR NO KEY UPDATE"), {"s": system})
        granted, wait = wanted, 0.0
        for limit in limits:
            row = connection.execute(_COUNT, _names(system, limit)).one()
            granted = min(granted, limit.calls - row.taken)
            if row.taken >= limit.calls:
                wait = max(wait, row.frees_in or 0.0, 0.1)
        if granted <= 0:
            return Reservation(system, 0, wait)
        parts = []
        for limit in limits:
            names = _names(system, limit)
            begins_at = connection.execute(_TAKE, names | {"taken": granted}).scalar_one()
            connection.execute(_FORGET, names)
            parts.append((limit, begins_at))
    return Reservation(system, granted, 0.0, tuple(parts))


def release(stores: Stores, taken: Reservation, unused: int) -> None:
    """What a batch didn't need."""
    if unused <= 0 or not taken.parts:
        return
    with stores.engine.begin() as connection:
        for limit, begins_at in taken.parts:
            names = _names(taken.system, limit) | {"unused": unused, "begins_at": begins_at}
            connection.execute(_GIVE_BACK, names)


def _names(system: str, limit: RateLimit) -> dict[str, object]:
    window = limit.per.total_seconds()
    unit = "people" if limit.per_subject else "calls"
    return {"system": system, "window": window, "unit": unit, "part": window / _PARTS}
