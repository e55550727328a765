"""The sliding window against vendors that count in windows of their own: nearly all is used, nearly nothing refused."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from connectors.base.pacing import SlidingWindow, guarded_seconds
from connectors.base.pacing.window import margin_seconds


def sent_at(calls: int, seconds: float, *, during: float, gap: float, guard: float | None = None) -> list[float]:
    """Instants at which somebody calls who always has more to do and needs `gap` seconds per call."""
    window = SlidingWindow(guarded_seconds(seconds) if guard is None else guard)
    now, sent = 0.0, []
    while now < during:
        wait = window.wait_seconds(now, calls)
        if wait:
            now += wait
            continue
        window.take(now)
        sent.append(now)
        now += gap
    return sent


def refused(arrivals: list[float], calls: int, seconds: float, *, fixed: bool) -> int:
    """How many calls a vendor refuses that counts what it accepted, in fixed windows or in sliding ones."""
    accepted: list[float] = []
    count = 0
    for at in arrivals:
        begin = at // seconds * seconds if fixed else at - seconds
        if len(accepted) - bisect_left(accepted, begin if fixed else begin + 1e-9) >= calls:
            count += 1
        else:
            accepted.append(at)
    return count


@pytest.mark.parametrize(("calls", "seconds"), [(2, 1.0), (50, 1.0), (100, 20.0), (200, 60.0), (10, 10.0)])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("busy", [0.0001, 0.5, 0.98])
def test_it_uses_the_limit_and_the_vendor_refuses_nearly_nothing(
    calls: int, seconds: float, fixed: bool, busy: float
) -> None:
    """`busy`: how much of the vendor's pace one call takes; from all at once to evenly spread."""
    during = 40 * seconds
    sent = sent_at(calls, seconds, during=during, gap=busy * seconds / calls)
    travel = random.Random(calls)
    arrivals = sorted(at + travel.uniform(0, margin_seconds(seconds)) for at in sent)
    assert len(sent) >= 0.95 * calls * during / seconds
    assert refused(arrivals, calls, seconds, fixed=fixed) < 0.01 * len(sent)


def test_a_window_that_is_too_short_is_refused_a_lot() -> None:
    sent = sent_at(50, 1.0, during=20, gap=0.001, guard=0.8)
    assert refused(sent, 50, 1.0, fixed=False) > 0.05 * len(sent)


def test_what_is_free_and_when() -> None:
    window = SlidingWindow(10.0)
    assert window.free(0.0, 3) == 3
    window.take(0.0, 2)
    window.take(4.0)
    assert window.free(5.0, 3) == 0
    assert window.wait_seconds(5.0, 3) == 5.0
    # A limit that was lowered meanwhile: more must go out of the window first.
    assert window.wait_seconds(5.0, 1) == 9.0
    assert window.free(10.0, 3) == 2
    assert window.wait_seconds(10.0, 3) == 0.0
