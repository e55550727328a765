"""Whose turn it is: in which order lines of due steps are served, and when a batch that isn't full may leave.

Decides by time left, and that nobody's bulk keeps the others waiting. Knows no rows and no clock; doesn't decide what
is done with the people of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

URGENT_LANE = UUID(int=0)
"""The line of requests that a human marked as urgent: it goes before every other."""

SINGLE_LANE = UUID(int=2**128 - 1)
"""The line of requests that came one by one. Each bulk submission has a line of its own, under its id."""


@dataclass(frozen=True)
class Head:
    """The first of a line of due steps. `batch_id` is set if it travels in a batch that was leased before."""

    phase: str
    lane: UUID
    respond_by: datetime
    due_at: datetime
    batch_id: UUID | None = None


def is_bulk(lane: UUID) -> bool:
    """True for the line of a bulk submission."""
    return lane not in (URGENT_LANE, SINGLE_LANE)


def in_turn(heads: Sequence[Head], last_lane: UUID | None) -> list[Head]:
    """The order in which lines are served: what is marked first, then by time left, then by how long it has been due.

    `last_lane` is the bulk submission that had the last batch to itself: it comes after everybody else who waits.
    """
    return sorted(
        heads,
        key=lambda head: (
            head.lane != URGENT_LANE,
            is_bulk(head.lane) and head.lane == last_lane,
            head.respond_by,
            head.due_at,
        ),
    )


def most_of_one_bulk(limit: int) -> int:
    """How many of a batch one bulk submission may fill while others wait. Batches of one take turns instead."""
    return max(1, limit // 2)


@dataclass(frozen=True)
class Gathered:
    """A batch that could be leased now. `others_may_come`: somebody else may soon be due for the same call."""

    people: int
    limit: int
    oldest_due_at: datetime
    respond_by: datetime
    is_marked: bool
    others_may_come: bool


def may_leave(gathered: Gathered, now: datetime, *, window: timedelta, urgent: timedelta) -> bool:
    """False while it pays to wait for company: at most `window` from when the first of the batch became due.

    Nobody waits in a full batch, with little time left, or when nobody else is on the way.
    """
    if gathered.people >= gathered.limit or gathered.is_marked or not gathered.others_may_come:
        return True
    return gathered.respond_by - now <= urgent or now - gathered.oldest_due_at >= window
