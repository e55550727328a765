"""Asked before work of a system is leased: may this worker go in now, and with how many people?

Nothing changes state here: where there is no room, nothing is leased, and the system rests until there is. Decides by
the system's standing (breaker, slots), its rate windows and its long limits; the use cases and the gate know those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from connectors.base.pacing import RateLimit
from service.domain.execution.health import RestReason
from service.domain.execution.states import Phase
from service.execution.lease import LeasedBatch
from service.execution.systems.availability import Standing, rest_system, system_standing
from service.execution.systems.quotas import Taken, give_back, take
from service.execution.systems.throttle import SystemPacer
from service.execution.worker_context import Runtime
from service.store.stores import Stores

_EFFECTS = (Phase.SUPPRESS, Phase.ERASE)
# Calls of a pass that aren't anybody's: the credential's proof before and after a look.
_CALLS_PER_PASS = 3
_MORE_CALLS = 5
# While no other system waits for the worker, a pass may be as long as this by the gate's doing.
_HORIZON_SECONDS = 15.0


@dataclass
class CallBudget:
    """Calls of long limits that a pass may make: taken before, more taken as needed, the rest given back."""

    stores: Stores
    limits: tuple[RateLimit, ...]
    taken: list[Taken] = field(default_factory=list)
    used: int = 0

    def more(self) -> float:
        """Count one more call. 0, or how long until one is free."""
        if self.used >= sum(each.granted for each in self.taken):
            took = take(self.stores, self.taken[0].system, self.limits, _MORE_CALLS)
            if not took.granted:
                return took.wait_seconds
            self.taken.append(took)
        self.used += 1
        return 0.0

    def close(self) -> None:
        """Give back what wasn't used, the last taken first."""
        unused = sum(each.granted for each in self.taken) - self.used
        for each in reversed(self.taken):
            give_back(self.stores, each, min(unused, each.granted))
            unused -= min(unused, each.granted)


@dataclass
class Entry:
    """Leave to lease a batch of at most so many people; `None`: as many as the connector takes.

    `leave` must be called, with the batch if one was leased and worked on.
    """

    stores: Stores
    standing: Standing
    at_most: int | None = None
    budget: CallBudget | None = None
    people: Taken | None = None

    def leave(self, leased: LeasedBatch | None) -> None:
        """Give back what was taken of long limits and not needed."""
        if self.budget is not None:
            self.budget.close()
        if self.people is not None:
            touched = len(leased.steps) if leased is not None and leased.phase in _EFFECTS else 0
            give_back(self.stores, self.people, self.people.granted - touched)


def enter(runtime: Runtime, system: str) -> Entry | None:
    """Leave to lease work of this system; None: not now."""
    standing = system_standing(runtime.stores, runtime.settings, system)
    if standing is None or not standing.has_slot:
        return None
    try:
        limits = runtime.rate_limits(system)
    except KeyError:
        return None  # not configured in this process: another one, with a newer configuration, knows it
    entry = Entry(runtime.stores, standing, 1 if standing.is_down else None)
    if _fits_window(runtime, entry, runtime.pacer(system)) and _fits_long_limits(runtime, entry, system, limits):
        return entry
    entry.leave(None)
    return None


def enter_to_look(runtime: Runtime, system: str) -> Entry | None:
    """Leave to read what changed; None: not now. It takes nobody's slot: looking is in no erasure's way, and a system
    that always has work would never be looked at. One that is down is looked at as its probe."""
    standing = system_standing(runtime.stores, runtime.settings, system)
    if standing is None:
        return None
    try:
        limits = runtime.rate_limits(system)
    except KeyError:
        return None
    entry = Entry(runtime.stores, standing)
    by_calls = tuple(limit for limit in limits if limit.is_long and not limit.per_subject)
    if by_calls:
        took = take(runtime.stores, system, by_calls, _CALLS_PER_PASS)
        if not took.granted:
            return None
        entry.budget = CallBudget(runtime.stores, by_calls, [took])
    return entry


def _fits_window(runtime: Runtime, entry: Entry, pacer: SystemPacer) -> bool:
    """Room in the short windows for one person at least. Each of the workers that may be in takes its part of it."""
    if not pacer.limits:
        return True
    needed = math.ceil(pacer.calls_per_person)
    horizon = 0.0 if runtime.is_wanted(pacer.system) else _HORIZON_SECONDS
    room = runtime.gate.room(pacer.system, pacer.limits, needed, horizon)
    if room.granted < min(needed, *(limit.calls for limit in pacer.limits)):
        _rest(runtime, pacer.system, room.wait_seconds)
        return False
    share = room.granted / entry.standing.max_concurrency
    entry.at_most = _least(entry.at_most, max(1, int(share / pacer.calls_per_person)))
    return True


def _fits_long_limits(runtime: Runtime, entry: Entry, system: str, limits: tuple[RateLimit, ...]) -> bool:
    by_people = tuple(limit for limit in limits if limit.per_subject)
    by_calls = tuple(limit for limit in limits if limit.is_long and not limit.per_subject)
    people = _least(entry.at_most, runtime.settings.engine.batch_size)
    if by_people:
        entry.people = take(runtime.stores, system, by_people, people)
        if not entry.people.granted:
            _rest(runtime, system, entry.people.wait_seconds)
            return False
        people = entry.at_most = entry.people.granted
    if by_calls:
        each = runtime.pacer(system).calls_per_person
        took = take(runtime.stores, system, by_calls, math.ceil(people * each) + _CALLS_PER_PASS)
        if not took.granted:
            _rest(runtime, system, took.wait_seconds)
            return False
        entry.budget = CallBudget(runtime.stores, by_calls, [took])
        entry.at_most = _least(entry.at_most, max(1, int(took.granted / each)))
    return True


def _rest(runtime: Runtime, system: str, seconds: float) -> None:
    """Until the room is there, less the time that the next nudge takes; what is left is waited for in the call."""
    rest_system(
        runtime.stores, system, max(seconds - runtime.settings.engine.tick_seconds, 0.0), RestReason.RATE_WINDOW
    )


def _least(limit: int | None, other: int) -> int:
    return other if limit is None else min(limit, other)
