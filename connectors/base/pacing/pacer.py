"""The pacer: asked before every call to a system, and informed of every answer.

The engine gives its connectors a pacer that all worker processes share; `expunge connector run` gives them the one
here, of one process, on the same arithmetic.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.pacing.limits import RateLimit
from connectors.base.pacing.rate_limit_headers import RATE_GATE, UNSAID_SECONDS, shut_seconds, vendor_word
from connectors.base.pacing.window import SlidingWindow, guarded_seconds

_LONGEST_WAIT_SECONDS = 120.0


class Pacer(Protocol):
    """Stands before every HTTP call of one system. May be called from several threads at once."""

    def before_call(self, *, changes: bool) -> None:
        """Take a permit for one call, after a short wait if need be. `changes`: the call may change something.

        Raises: TemporarilyUnavailable (`rate_gate`: none is free soon; the call must not be made), LeaseLost.
        """

    def after_call(self, headers: Mapping[str, str], error: ConnectorError | None = None) -> None:
        """Tell what came of it: the answer's headers (lower-case names; none without an answer) and the error."""


class LocalPacer:
    """One process' own pacer: waits in the call, as long as two minutes."""

    def __init__(
        self,
        limits: Sequence[RateLimit],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        counted = [limit for limit in limits if not limit.per_subject]
        self._windows = [(limit.calls, SlidingWindow(guarded_seconds(limit.per.total_seconds()))) for limit in counted]
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._shut_until = 0.0

    def before_call(self, *, changes: bool) -> None:
        """Wait for a permit. Raises TemporarilyUnavailable if that would take longer than two minutes."""
        while wait := self._take():
            if wait > _LONGEST_WAIT_SECONDS:
                raise TemporarilyUnavailable(RATE_GATE, retry_after_seconds=wait)
            self._sleep(wait)

    def after_call(self, headers: Mapping[str, str], error: ConnectorError | None = None) -> None:
        """Keep everybody out for as long as the vendor asks."""
        said, word = shut_seconds(error) if error is not None else None, vendor_word(headers)
        if word is not None and word.remaining == 0:
            said = max(said or 0.0, word.resets_in_seconds or UNSAID_SECONDS)
        if said is not None:
            with self._lock:
                self._shut_until = max(self._shut_until, self._clock() + said)

    def _take(self) -> float:
        """0 and a permit, or how long to wait."""
        with self._lock:
            now = self._clock()
            waits = [window.wait_seconds(now, calls) for calls, window in self._windows]
            wait = max([self._shut_until - now, *waits, 0.0])
            if not wait:
                for _, window in self._windows:
                    window.take(now)
            return wait
