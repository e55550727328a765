"""The retry policy: a pure function of error, attempts and time left.

A step whose vendor's answer was not understood parks and is never retried blindly. A temporary error is retried for
ever: an overdue step is marked and alerted, but the obligation to erase doesn't end. An overdue step is retried more
slowly, because a person was alerted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.pacing import RATE_GATE
from connectors.base.transitions.states import Retry

FIRST_WAIT = timedelta(seconds=2)
SHORTEST_WAIT = timedelta(seconds=0.1)
LONGEST_WAIT = timedelta(minutes=15)
LONGEST_WAIT_WHEN_URGENT = timedelta(minutes=2)
URGENT = timedelta(days=2)


def decide(error: ConnectorError, *, consecutive_attempts: int, time_left: timedelta, now: datetime) -> Retry:
    """Return when to try again, or why to park.

    `consecutive_attempts` counts those since the last success, this one included; `time_left` may be negative. A
    vendor's Retry-After is obeyed even if it is longer than LONGEST_WAIT.
    """
    if error.code == RATE_GATE:
        # The service's own rate limiter stopped the call before it was sent, so this is no attempt and no failure.
        return Retry(due_at=now + timedelta(seconds=getattr(error, "retry_after_seconds", None) or 0), is_attempt=False)
    if isinstance(error, TemporarilyUnavailable):
        longest = LONGEST_WAIT_WHEN_URGENT if timedelta(0) <= time_left < URGENT else LONGEST_WAIT
        doublings = 2 ** min(max(consecutive_attempts - 1, 0), 14)
        wait = min(FIRST_WAIT * doublings, longest)
        if error.retry_after_seconds is not None:
            # If a vendor answers "at once" again and again, the wait grows nevertheless.
            wait = max(timedelta(seconds=error.retry_after_seconds), min(SHORTEST_WAIT * doublings, longest))
        return Retry(due_at=now + wait)
    if isinstance(error, CredentialsRefused):
        return Retry(reason=f"credentials_refused:{error.code}"[:80])
    if isinstance(error, RequestRefused):
        return Retry(reason=f"request_refused:{error.code}"[:80])
    assert isinstance(error, AnswerNotUnderstood), "a connector raises four kinds of errors"
    return Retry(reason=f"answer_not_understood:{error.code}"[:80])
