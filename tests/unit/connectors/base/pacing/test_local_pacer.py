"""The pacer of `expunge connector run`: waits in the call, and obeys what the vendor says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.base.config import ConfigurationError, parse_rate_limits
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.pacing import LocalPacer, RateLimit, guarded_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def pacer(clock: Clock, *limits: RateLimit) -> LocalPacer:
    return LocalPacer(limits, clock=clock, sleep=clock.sleep)


def test_it_waits_until_the_window_has_room() -> None:
    clock = Clock()
    paced = pacer(clock, RateLimit(2, timedelta(seconds=10)), RateLimit(1, timedelta(seconds=60), per_subject=True))
    for _ in range(5):
        paced.before_call(changes=False)
    assert clock.slept == pytest.approx([guarded_seconds(10), guarded_seconds(10)])


def test_it_stays_away_as_long_as_it_is_told() -> None:
    clock = Clock()
    paced = pacer(clock)
    paced.after_call({}, TemporarilyUnavailable("rate_limited", status=429, retry_after_seconds=30))
    paced.before_call(changes=True)
    assert clock.slept == [30]
    paced.after_call({"ratelimit-remaining": "0", "ratelimit-reset": "5"})
    paced.before_call(changes=True)
    assert clock.slept == [30, 5]


def test_it_gives_up_where_nobody_would_wait() -> None:
    clock = Clock()
    paced = pacer(clock)
    paced.after_call({}, TemporarilyUnavailable("daily_limit", retry_after_seconds=3600))
    with pytest.raises(TemporarilyUnavailable) as raised:
        paced.before_call(changes=True)
    assert (raised.value.code, raised.value.retry_after_seconds) == ("rate_gate", 3600)


def test_limits_of_a_system_are_read() -> None:
    entry = [{"calls": 10, "per_seconds": 0.5}, {"calls": 700, "per_seconds": 600, "per_subject": True}]
    assert parse_rate_limits(entry, "here") == (
        RateLimit(10, timedelta(seconds=0.5)),
        RateLimit(700, timedelta(minutes=10), per_subject=True),
    )
    assert parse_rate_limits([], "here") == ()
    assert parse_rate_limits(None, "here") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "a list"),
        ([{"calls": 1}], "takes calls"),
        ([{"calls": 1, "per_seconds": 1, "per": 1}], "takes calls"),
        ([{"calls": 0, "per_seconds": 1}], "calls: a whole"),
        ([{"calls": True, "per_seconds": 1}], "calls: a whole"),
        ([{"calls": 1, "per_seconds": 0}], "per_seconds: a number"),
        ([{"calls": 1, "per_seconds": 1, "per_subject": 1}], "per_subject: true"),
    ],
)
def test_what_is_no_limit_is_said(value: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_rate_limits(value, "here")
