"""The breaker's rule and the share of slots."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.values import Answer
from service.domain.execution.health import (
    LONGEST_PAUSE,
    BreakerRules,
    BreakerState,
    PassKind,
    after_pass,
    kind_of_pass,
    most_passes,
)

RULES = BreakerRules(passes=3, pause=timedelta(seconds=5))
TIMEOUT = TemporarilyUnavailable("timeout")


@pytest.mark.parametrize(
    ("results", "kind"),
    [
        ([TIMEOUT, TemporarilyUnavailable("vendor_unavailable", status=503)], PassKind.SILENT),
        ([TIMEOUT, Answer.already_absent()], PassKind.ANSWERED),
        ([TIMEOUT, RequestRefused("not_addressable")], PassKind.SILENT),
        # It works: it only wants to be asked less, or otherwise.
        ([TemporarilyUnavailable("rate_limited", status=429)], PassKind.ANSWERED),
        ([CredentialsRefused("unauthorized", status=401)], PassKind.ANSWERED),
        ([AnswerNotUnderstood("not_json", status=200)], PassKind.ANSWERED),
        # What we did ourselves says nothing about it.
        ([TemporarilyUnavailable("rate_gate"), TemporarilyUnavailable("stopped")], PassKind.SAYS_NOTHING),
        ([AnswerNotUnderstood("connector_failed")], PassKind.SAYS_NOTHING),
        ([], PassKind.SAYS_NOTHING),
    ],
)
def test_the_health_that_a_pass_shows(results: list[ConnectorError | Answer], kind: PassKind) -> None:
    assert kind_of_pass(results) is kind


def test_it_opens_after_so_many_in_a_row_and_its_pauses_grow() -> None:
    health, pauses = BreakerState(), []
    for _ in range(16):
        health, pause = after_pass(health, PassKind.SILENT, RULES)
        pauses.append(pause)
    assert health.is_down
    assert pauses[:5] == [None, None, timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert pauses[-1] == LONGEST_PAUSE
    assert after_pass(health, PassKind.ANSWERED, RULES) == (BreakerState(), None)


def test_one_answer_in_between_starts_the_count_anew() -> None:
    health, _ = after_pass(BreakerState(2), PassKind.ANSWERED, RULES)
    assert after_pass(health, PassKind.SILENT, RULES) == (BreakerState(1), None)


def test_a_pass_that_says_nothing_changes_nothing() -> None:
    assert after_pass(BreakerState(2), PassKind.SAYS_NOTHING, RULES) == (BreakerState(2), None)
    down = BreakerState(7, is_down=True)
    assert after_pass(down, PassKind.SAYS_NOTHING, RULES) == (down, RULES.pause)


@pytest.mark.parametrize(
    ("slots", "concurrency", "quick", "slow"),
    [(1, 4, 1, 1), (2, 4, 2, 1), (3, 4, 2, 1), (4, 4, 3, 2), (8, 4, 4, 4), (16, 20, 15, 8), (4, 1, 1, 1)],
)
def test_slots(slots: int, concurrency: int, quick: int, slow: int) -> None:
    assert most_passes(slots, concurrency, is_slow=False) == quick
    assert most_passes(slots, concurrency, is_slow=True) == slow
