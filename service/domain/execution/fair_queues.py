"""Fair queueing by deadline: the order of queues of due steps, and when a partial batch is leased.

Decides by the time left, and that one bulk submission doesn't delay the other requests. Knows no rows and no clock;
doesn't decide what happens to the steps of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

URGENT_FAIR_QUEUE = UUID(int=0)
"""The queue of requests that a human marked as urgent; it comes before all others."""

DEFAULT_FAIR_QUEUE = UUID(int=2**128 - 1)
"""The queue of requests that were submitted one by one. Each bulk submission has its own queue, under its id."""


@dataclass(frozen=True)
class Head:
    """The first step of a queue of due steps. `batch_id`: the batch in which it was leased before."""

    phase: str
    fair_queue: UUID
    respond_by: datetime
    due_at: datetime
    batch_id: UUID | None = None


def is_bulk(fair_queue: UUID) -> bool:
    """Return True for the queue of a bulk submission."""
    return fair_queue not in (URGENT_FAIR_QUEUE, DEFAULT_FAIR_QUEUE)


def in_turn(heads: Sequence[Head], last_fair_queue: UUID | None) -> list[Head]:
    """Return the queues' heads in the order of service: urgent first, then by deadline, then by due time.

    `last_fair_queue` is the queue of the bulk submission that filled the last batch alone; it comes after all others.
    """
    return sorted(
        heads,
        key=lambda head: (
            head.fair_queue != URGENT_FAIR_QUEUE,
            is_bulk(head.fair_queue) and head.fair_queue == last_fair_queue,
            head.respond_by,
            head.due_at,
        ),
    )


def most_of_one_bulk(limit: int) -> int:
    """Return how many steps of a batch one bulk submission may fill while others wait; at least one.

    With a limit of one, the queues alternate by `last_fair_queue` instead.
    """
    return max(1, limit // 2)


@dataclass(frozen=True)
class Gathered:
    """A batch that could be leased now. `others_may_come`: more steps may soon be due for the same call."""

    people: int
    limit: int
    oldest_due_at: datetime
    respond_by: datetime
    is_marked: bool
    others_may_come: bool


def may_leave(gathered: Gathered, now: datetime, *, window: timedelta, urgent: timedelta) -> bool:
    """Return whether the batch is leased now; False while it waits for more steps.

    It waits at most `window` from the time at which its first step became due. It doesn't wait if it is full or marked
    as urgent, if at most `urgent` is left until a deadline, or if no more steps may come.
    """
    if gathered.people >= gathered.limit or gathered.is_marked or not gathered.others_may_come:
        return True
    return gathered.respond_by - now <= urgent or now - gathered.oldest_due_at >= window
