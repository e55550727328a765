"""The rate gate of all systems in one worker process: who may call now, and if not, when.

Asks the windows that all processes share. While their server can't be asked, each process takes limit / live workers
by a log of its own calls, never more; the server's return is noticed within a second.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import redis
import structlog

from connectors.base.pacing import RateLimit, SlidingWindow, VendorWord, guarded_seconds
from service.execution.systems.rate_windows import Permits, SharedWindows

log = structlog.get_logger(__name__)

_ASK_AGAIN_SECONDS = 1.0
_COUNT_AGAIN_SECONDS = 5.0
_T = TypeVar("_T")


class RateGate:
    """One per runtime; may be asked from several threads. `limits` are short ones that count calls."""

    def __init__(
        self,
        shared: SharedWindows | None,
        live_workers: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._live_workers = live_workers
        self._clock = clock
        self._lock = threading.Lock()
        self._own: dict[tuple[str, RateLimit, float], SlidingWindow] = {}
        self._shut_until: dict[str, float] = {}
        self._lost_at: float | None = None
        self._workers = 0
        self._counted_at = -math.inf

    def take(self, system: str, limits: Sequence[RateLimit], wanted: int = 1) -> Permits:
        """Up to `wanted` permits to call now, or how long until one is free."""
        with self._lock:
            wait = self._shut_until.get(system, 0.0) - self._clock()
        if wait > 0:
            return Permits(0, wait)
        permits = self._ask(lambda shared: shared.take(system, limits, wanted))
        if permits is None:
            return self._take_of_share(system, limits)
        with self._lock:
            for limit in limits:
                self._log_of(system, limit, guarded_seconds(limit.per.total_seconds())).take(
                    self._clock(), permits.granted
                )
        return permits

    def room(self, system: str, limits: Sequence[RateLimit], needed: int, horizon_seconds: float) -> Permits:
        """How many permits there will be by the horizon, before anything is leased. Takes none."""
        permits = self._ask(lambda shared: shared.room(system, limits, needed, horizon_seconds))
        if permits is not None:
            return permits
        workers = self._count_workers()
        with self._lock:
            now = self._clock()
            wait = max([self._shut_until.get(system, 0.0) - now, *self._waits(system, limits, workers, now), 0.0])
        shares = [max(1, limit.calls // workers) for limit in limits]
        return Permits(0, wait) if wait > horizon_seconds else Permits(min(shares, default=1_000_000))

    def shut(self, system: str, seconds: float) -> None:
        """The vendor wants to be left alone: nobody of all processes calls for so long."""
        with self._lock:
            until = self._clock() + seconds
            self._shut_until[system] = max(self._shut_until.get(system, 0.0), until)
        self._ask(lambda shared: shared.shut(system, seconds))

    def take_care(self, system: str, limits: Sequence[RateLimit]) -> None:
        """The vendor refused a call that had a permit: windows are taken a little longer for a while."""
        if limits:
            self._ask(lambda shared: shared.take_care(system, limits))

    def hear(self, system: str, word: VendorWord) -> None:
        """The vendor counts otherwise than we do: others call it as well."""
        if word.remaining == 0:
            self.shut(system, word.resets_in_seconds)
        else:
            self._ask(lambda shared: shared.hear(system, word))

    def is_nudged(self, queues: Sequence[str], *, besides: str) -> bool:
        """True if another system waits for a worker of these queues."""
        return bool(self._ask(lambda shared: shared.is_nudged(queues, besides=besides)))

    def close(self) -> None:
        """Give the connections back."""
        if self._shared is not None:
            self._shared.close()

    def _ask(self, question: Callable[[SharedWindows], _T]) -> _T | None:
        """The shared windows' answer; None while they can't be asked."""
        if self._shared is None:
            return None
        if self._lost_at is not None and self._clock() - self._lost_at < _ASK_AGAIN_SECONDS:
            return None
        try:
            answer = question(self._shared)
        except redis.RedisError as error:
            if self._lost_at is None:
                log.warning("rate_windows_lost", error=type(error).__name__)
            self._lost_at = self._clock()
            return None
        if self._lost_at is not None:
            log.info("rate_windows_back")
            self._lost_at = None
        return answer

    def _take_of_share(self, system: str, limits: Sequence[RateLimit]) -> Permits:
        workers = self._count_workers()
        with self._lock:
            now = self._clock()
            wait = max(self._waits(system, limits, workers, now), default=0.0)
            if wait > 0:
                return Permits(0, wait)
            for known, limit, seconds in list(self._own):
                if known == system and limit in limits:
                    self._own[(known, limit, seconds)].take(now)
        return Permits(1)

    def _waits(self, system: str, limits: Sequence[RateLimit], workers: int, now: float) -> list[float]:
        """Return the seconds until this process' share of each limit has a free permit.

        A share below one call is one call in a longer time.
        """
        waits = []
        for limit in limits:
            seconds = guarded_seconds(limit.per.total_seconds()) * max(1.0, workers / limit.calls)
            own = self._log_of(system, limit, seconds)
            waits.append(own.wait_seconds(now, max(1, limit.calls // workers)))
        return waits

    def _log_of(self, system: str, limit: RateLimit, seconds: float) -> SlidingWindow:
        key = (system, limit, seconds)
        if key not in self._own:
            self._own[key] = SlidingWindow(seconds)
        return self._own[key]

    def _count_workers(self) -> int:
        if self._clock() - self._counted_at >= _COUNT_AGAIN_SECONDS:
            self._workers, self._counted_at = max(1, self._live_workers()), self._clock()
        return self._workers
