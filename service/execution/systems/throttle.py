"""Pace the calls of one system in one worker, and judge a pass by the answers to its calls.

A wait in a call holds a worker, so it is short: 50 ms, or a few seconds while no other system waits for a worker. A
call that would wait longer is refused (`rate_gate`), and its people are due again when there is room. Only a pass of
one person waits longer, because it can't be smaller.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.pacing import RATE_GATE, RateLimit, shut_seconds, vendor_word
from connectors.base.pacing.window import margin_seconds
from service.domain.execution.health import SYSTEM_DOWN, is_silence, kind_of_pass
from service.execution.systems.availability import CallStats
from service.execution.systems.rate_limiter import RateGate

SHORT_WAIT_SECONDS = 0.05
IDLE_WAIT_SECONDS = 5.0
LONE_WAIT_SECONDS = 60.0

_FIRST_GUESS_CALLS_PER_PERSON = 4.0
_SILENT_CALLS = 3
_LOOK_FOR_WORDS_SECONDS = 0.25
# Vendors' words about what is left are passed on when it becomes little, not with every answer.
_LITTLE_IS_LEFT = 20
_MOST_PERMITS_AT_ONCE = 16


class HeldWork(Protocol):
    """The lease under which a pass works (service.execution.heartbeat)."""

    def still_held(self) -> Collection[str]:
        """The people who must not be touched any more. Raises LeaseLost."""


class CallQuota(Protocol):
    """The calls that a pass may take of limits that are counted in SQL."""

    def take_one(self) -> float:
        """Take one more call. 0, or how long until one is free."""


@dataclass
class _Pass:
    people: int
    lease: HeldWork | None
    quota: CallQuota | None
    began_at: float
    calls: int = 0
    silent: int = 0
    refused: int = 0
    shut_seconds: float | None = None
    results: list[object] = field(default_factory=list)


class Throttle:
    """Lives as long as its connector. Safe for several threads within one pass; one pass at a time."""

    def __init__(
        self, system: str, limits: Collection[RateLimit], gate: RateGate, is_wanted: Callable[[], bool] = lambda: False
    ) -> None:
        """`limits`: the short ones that count calls. `is_wanted`: another system waits for this worker."""
        self.system = system
        self.limits = tuple(limits)
        self.calls_per_person = _FIRST_GUESS_CALLS_PER_PERSON
        self._gate = gate
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._pass = _Pass(0, None, None, time.monotonic())
        self._permits = 0
        self._permits_until = 0.0
        self._looked_at = -math.inf
        self._at_once, self._fresh_seconds = _block(self.limits)

    @contextmanager
    def run(
        self, people: int, lease: HeldWork | None = None, quota: CallQuota | None = None
    ) -> Iterator[Callable[[Mapping[str, object]], CallStats]]:
        """One pass. Gives what is to be told the pass' results, by person, and answers what the pass was like."""
        self._pass = _Pass(people, lease, quota, time.monotonic())
        try:
            yield self._summarise
        finally:
            self._estimate_calls_per_person()
            self._pass = _Pass(0, None, None, time.monotonic())

    @property
    def calls(self) -> int:
        """Calls that the pass made so far."""
        return self._pass.calls

    def before_call(self, *, changes: bool) -> None:
        """Take a permit. Raises TemporarilyUnavailable (`rate_gate`, `system_down`, `stopped`), LeaseLost."""
        now = self._pass
        if now.silent >= _SILENT_CALLS:
            # The rest of the batch would wait for the same silence, one time-out after the other.
            raise TemporarilyUnavailable(SYSTEM_DOWN)
        stopped = now.lease.still_held() if changes and now.lease is not None else ()
        waited = self._wait_for_permit(now)
        if changes and now.lease is not None and waited > SHORT_WAIT_SECONDS and now.lease.still_held() != stopped:
            # A person was held or withdrawn after the connector asked: it must ask again before it acts.
            raise TemporarilyUnavailable("stopped")
        with self._lock:
            now.calls += 1

    def after_call(self, headers: Mapping[str, str], error: ConnectorError | None = None) -> None:
        """Hear what the vendor says, and pass it on to all."""
        now = self._pass
        with self._lock:
            now.silent = now.silent + 1 if is_silence(error) else 0
        seconds = None if error is None else shut_seconds(error)
        if seconds is not None:
            now.shut_seconds = max(now.shut_seconds or 0.0, seconds)
            self._gate.shut(self.system, seconds)
            self._gate.take_care(self.system, self.limits)
        word = vendor_word(headers)
        if word is not None and word.remaining <= max(_LITTLE_IS_LEFT, (word.limit or 0) // 10):
            self._gate.hear(self.system, word)

    def _wait_for_permit(self, now: _Pass) -> float:
        began_at = time.monotonic()
        if now.quota is not None:
            with self._lock:
                wait = now.quota.take_one()
            if wait:
                self._refuse(now, wait)
        while wait := self._take():
            waited = time.monotonic() - began_at
            if not self._may_wait(now, waited, wait):
                self._refuse(now, wait)
            # In short pieces, so that the worker is free as soon as other work needs it.
            time.sleep(min(wait, SHORT_WAIT_SECONDS))
        return time.monotonic() - began_at

    def _refuse(self, now: _Pass, wait: float) -> None:
        with self._lock:
            now.refused += 1
        raise TemporarilyUnavailable(RATE_GATE, retry_after_seconds=wait)

    def _may_wait(self, now: _Pass, waited: float, wait: float) -> bool:
        if waited + wait <= SHORT_WAIT_SECONDS:
            return True
        if now.people == 1:
            return waited + wait <= LONE_WAIT_SECONDS
        return waited + wait <= IDLE_WAIT_SECONDS and not self._is_wanted()

    def _take(self) -> float:
        """0 and a permit, or how long until there is one."""
        with self._lock:
            moment = time.monotonic()
            if self._permits and moment < self._permits_until:
                self._permits -= 1
                return 0.0
            if not self.limits:
                # Nothing to count, but the vendor may have told another worker to wait.
                if moment - self._looked_at < _LOOK_FOR_WORDS_SECONDS:
                    return 0.0
                self._looked_at = moment
            permits = self._gate.take(self.system, self.limits, self._at_once)
            if not permits.granted:
                self._looked_at = -math.inf
                return max(permits.wait_seconds, 0.001)
            self._permits, self._permits_until = permits.granted - 1, moment + self._fresh_seconds
            return 0.0

    def _summarise(self, results: Mapping[str, object]) -> CallStats:
        """Return the stats of the pass, from its results and the vendor's headers."""
        now = self._pass
        now.results = list(results.values())
        for result in now.results:
            # A vendor that says it in the body: only the connector understood.
            if isinstance(result, ConnectorError) and not _is_ours(result) and (said := shut_seconds(result)):
                if said > (now.shut_seconds or 0.0):
                    self._gate.shut(self.system, said)
                now.shut_seconds = max(now.shut_seconds or 0.0, said)
        took = timedelta(seconds=time.monotonic() - now.began_at)
        return CallStats(kind_of_pass(now.results), took, now.shut_seconds)

    def _estimate_calls_per_person(self) -> None:
        """How many calls a person costs: what the next pass is made as large as."""
        now = self._pass
        if not now.people or not now.calls:
            return
        each = now.calls / now.people
        if now.refused:
            # It was more than there was room for; how much more isn't known.
            self.calls_per_person = max(self.calls_per_person * 2, each)
        else:
            self.calls_per_person = (self.calls_per_person + each) / 2


def _is_ours(error: ConnectorError) -> bool:
    return error.code == RATE_GATE


def _block(limits: Collection[RateLimit]) -> tuple[int, float]:
    """Return how many permits are taken at once, and for how many seconds they are good.

    The time is less than the windows' margin, so that no permit is used much later than it was counted. One question
    per call would cost more than the call itself.
    """
    if not limits:
        return 1, 0.0
    fresh = min(margin_seconds(limit.per.total_seconds()) for limit in limits) / 2
    rate = min(limit.calls / limit.per.total_seconds() for limit in limits)
    return max(1, min(_MOST_PERMITS_AT_ONCE, int(rate * fresh))), fresh
