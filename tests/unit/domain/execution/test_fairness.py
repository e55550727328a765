"""Whose turn it is, and when a batch that isn't full may leave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from service.domain.execution.fair_queues import (
    DEFAULT_FAIR_QUEUE,
    URGENT_FAIR_QUEUE,
    Gathered,
    Head,
    in_turn,
    is_bulk,
    may_leave,
    most_of_one_bulk,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BULK = uuid4()
DAY = timedelta(days=1)


def head(fair_queue: object, days: float, seconds: float = 0) -> Head:
    return Head("locate", fair_queue, NOW + days * DAY, NOW - timedelta(seconds=seconds))  # type: ignore[arg-type]


def test_order_is_urgent_then_least_time_left_then_longest_wait() -> None:
    marked, late, soon, older = (
        head(URGENT_FAIR_QUEUE, 30),
        head(DEFAULT_FAIR_QUEUE, -3),
        head(BULK, 2),
        head(DEFAULT_FAIR_QUEUE, 2, 5),
    )
    assert in_turn([soon, late, older, marked], None) == [marked, late, older, soon]


def test_a_bulk_queue_with_the_last_batch_comes_last() -> None:
    bulk, single = head(BULK, 1), head(DEFAULT_FAIR_QUEUE, 20)
    assert in_turn([single, bulk], None) == [bulk, single]
    assert in_turn([single, bulk], BULK) == [single, bulk]
    assert in_turn([bulk], BULK) == [bulk]
    # Only bulk submissions take turns: the line of single requests isn't one submission.
    assert in_turn([head(DEFAULT_FAIR_QUEUE, 1), head(BULK, 2)], DEFAULT_FAIR_QUEUE)[0].fair_queue == DEFAULT_FAIR_QUEUE


def test_half_of_a_batch_is_the_most_of_one_bulk_submission() -> None:
    assert [most_of_one_bulk(n) for n in (1, 2, 3, 100)] == [1, 1, 1, 50]
    assert [is_bulk(fair_queue) for fair_queue in (URGENT_FAIR_QUEUE, DEFAULT_FAIR_QUEUE, BULK)] == [False, False, True]


YOUNG = Gathered(
    people=3,
    limit=10,
    oldest_due_at=NOW - timedelta(seconds=1),
    respond_by=NOW + 20 * DAY,
    is_marked=False,
    others_may_come=True,
)


@pytest.mark.parametrize(
    ("gathered", "leaves"),
    [
        (YOUNG, False),
        (replace(YOUNG, people=10), True),
        (replace(YOUNG, oldest_due_at=NOW - timedelta(seconds=2)), True),
        (replace(YOUNG, respond_by=NOW + 2 * DAY), True),
        (replace(YOUNG, respond_by=NOW - DAY), True),
        (replace(YOUNG, is_marked=True), True),
        (replace(YOUNG, others_may_come=False), True),
    ],
)
def test_a_batch_waits_for_company_only_while_it_pays(gathered: Gathered, leaves: bool) -> None:
    assert may_leave(gathered, NOW, window=timedelta(seconds=2), urgent=2 * DAY) is leaves
