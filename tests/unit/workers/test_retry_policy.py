"""When an error is tried again: never blindly, never in a rush, for ever, and as the vendor says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from service.domain.audit.schema import is_code
from service.domain.execution.retry_policy import (
    FIRST_WAIT,
    LONGEST_WAIT,
    LONGEST_WAIT_WHEN_URGENT,
    SHORTEST_WAIT,
    decide,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
attempts = st.integers(0, 10_000)
times_left = st.timedeltas(timedelta(days=-400), timedelta(days=400))


def wait(error: ConnectorError, n: int, left: timedelta) -> timedelta:
    retry = decide(error, consecutive_attempts=n, time_left=left, now=NOW)
    assert retry.due_at is not None
    assert retry.reason is None
    return retry.due_at - NOW


@given(attempts, times_left)
def test_temporary_trouble_is_tried_for_ever_and_within_bounds(n: int, left: timedelta) -> None:
    waited = wait(TemporarilyUnavailable("x"), n, left)
    assert FIRST_WAIT <= waited <= LONGEST_WAIT
    assert wait(TemporarilyUnavailable("x"), n + 1, left) >= waited


@given(attempts, times_left, st.floats(0, 86_400))
def test_the_vendors_word_is_obeyed(n: int, left: timedelta, seconds: float) -> None:
    waited = wait(TemporarilyUnavailable("x", retry_after_seconds=seconds), n, left)
    assert waited >= max(timedelta(seconds=seconds), SHORTEST_WAIT)
    assert waited <= max(timedelta(seconds=seconds), LONGEST_WAIT)


def test_a_vendor_that_always_says_at_once_is_asked_more_slowly() -> None:
    at_once = TemporarilyUnavailable("x", retry_after_seconds=0)
    assert wait(at_once, 1, timedelta(days=9)) == SHORTEST_WAIT
    assert wait(at_once, 12, timedelta(days=9)) > timedelta(minutes=1)


def test_urgent_work_is_tried_more_often_and_overdue_work_is_not() -> None:
    error = TemporarilyUnavailable("x")
    assert wait(error, 50, timedelta(days=1)) == LONGEST_WAIT_WHEN_URGENT
    assert wait(error, 50, timedelta(days=20)) == LONGEST_WAIT
    assert wait(error, 50, timedelta(days=-1)) == LONGEST_WAIT


@pytest.mark.parametrize("kind", [CredentialsRefused, RequestRefused, AnswerNotUnderstood])
@given(n=attempts, left=times_left)
def test_nothing_else_is_tried_blindly(kind: type[ConnectorError], n: int, left: timedelta) -> None:
    retry = decide(kind("c" * 80), consecutive_attempts=n, time_left=left, now=NOW)
    assert retry.due_at is None
    assert retry.reason is not None
    assert is_code(retry.reason)
