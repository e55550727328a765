"""When an error is tried again, and when a human must look: a pure function of (error, tries, time left).

Nothing retries blindly on an answer that was not understood. Temporary trouble is tried for ever: an overdue step is
marked and alerted, but the duty doesn't end; it is worked on more slowly again, since a human knows of it by now.
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
from service.domain.execution.states import Retry

FIRST_WAIT = timedelta(seconds=2)
SHORTEST_WAIT = timedelta(seconds=0.1)
LONGEST_WAIT = timedelta(minutes=15)
LONGEST_WAIT_WHEN_URGENT = timedelta(minutes=2)
URGENT = timedelta(days=2)


def decide(error: ConnectorError, *, tries: int, time_left: timedelta, now: datetime) -> Retry:
    """The next move. `tries` counts the errors in a row, this one included; `time_left` may be negative.

    A vendor's Retry-After is obeyed even when it is longer than our own longest wait.
    """
    if error.code == RATE_GATE:
        # Our own gate: nothing was sent. Back when it has room, and not as if something had failed.
        return Retry(due_at=now + timedelta(seconds=getattr(error, "retry_after_seconds", None) or 0), is_try=False)
    if isinstance(error, TemporarilyUnavailable):
        longest = LONGEST_WAIT_WHEN_URGENT if timedelta(0) <= time_left < URGENT else LONGEST_WAIT
        doublings = 2 ** min(max(tries - 1, 0), 14)
        wait = min(FIRST_WAIT * doublings, longest)
        if error.retry_after_seconds is not None:
            # A vendor that says "at once" again and again is asked more and more slowly.
            wait = max(timedelta(seconds=error.retry_after_seconds), min(SHORTEST_WAIT * doublings, longest))
        return Retry(due_at=now + wait)
    if isinstance(error, CredentialsRefused):
        return Retry(reason=f"credentials_refused:{error.code}"[:80])
    if isinstance(error, RequestRefused):
        return Retry(reason=f"request_refused:{error.code}"[:80])
    assert isinstance(error, AnswerNotUnderstood), "a connector raises four kinds of errors"
    return Retry(reason=f"answer_not_understood:{error.code}"[:80])
