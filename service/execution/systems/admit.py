"""Asked before work of a system is leased: may this worker go in now, and with how many people?

Nothing changes state here: where there is no room, nothing is leased, and the system rests until there is. Decides by
the system's availability (breaker, slots), its rate windows and its long limits; the use cases and the gate know those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from connectors.base.pacing import RateLimit
from connectors.base.transitions.states import EFFECT_PHASES
from service.domain.execution.health import CooldownReason
from service.execution.lease import LeasedBatch
from service.execution.systems.availability import Availability, read_availability, start_cooldown
from service.execution.systems.quotas import Reservation, release, reserve
from service.execution.systems.throttle import Throttle
from service.execution.worker_context import WorkerContext
from service.store.stores import Stores

# Calls of a pass that aren't anybody's: the credential's proof before and after a look.
_CALLS_PER_PASS = 3
_MORE_CALLS = 5
# While no other system waits for the worker, a pass may be as long as this by the gate's doing.
_HORIZON_SECONDS = 15.0


@dataclass
class Quota:
    """Calls of long limits that a pass may make: taken before, more taken as needed, the rest given back."""

    stores: Stores
    limits: tuple[RateLimit, ...]
    taken: list[Reservation] = field(default_factory=list)
    used: int = 0

    def take_one(self) -> float:
        """Count one more call. 0, or how long until one is free."""
        if self.used >= sum(each.granted for each in self.taken):
            took = reserve(self.stores, self.taken[0].system, self.limits, _MORE_CALLS)
            if not took.granted:
                return took.wait_seconds
            self.taken.append(took)
        self.used += 1
        return 0.0

    def close(self) -> None:
        """Give back what wasn't used, the last taken first."""
        unused = sum(each.granted for each in self.taken) - self.used
        for each in reversed(self.taken):
            release(self.stores, each, min(unused, each.granted))
            unused -= min(unused, each.granted)


@dataclass
class Slot:
    """Leave to lease a batch of at most so many people; `None`: as many as the connector takes.

    `release` must be called, with the batch if one was leased and worked on.
    """

    stores: Stores
    availability: Availability
    max_subjects: int | None = None
    quota: Quota | None = None
    people: Reservation | None = None

    def release(self, leased: LeasedBatch | None) -> None:
        """Give back what was taken of long limits and not needed."""
        if self.quota is not None:
            self.quota.close()
        if self.people is not None:
            touched = len(leased.steps) if leased is not None and leased.phase in EFFECT_PHASES else 0
            release(self.stores, self.people, self.people.granted - touched)


def admit(context: WorkerContext, system: str) -> Slot | None:
    """Leave to lease work of this system; None: not now."""
    availability = read_availability(context.stores, context.settings, system)
    if availability is None or not availability.has_slot:
        return None
    try:
        limits = context.rate_limits(system)
    except KeyError:
        return None  # not configured in this process: another one, with a newer configuration, knows it
    slot = Slot(context.stores, availability, 1 if availability.is_down else None)
    if _fits_window(context, slot, context.throttle(system)) and _fits_long_limits(context, slot, system, limits):
        return slot
    slot.release(None)
    return None


def admit_read_only(context: WorkerContext, system: str) -> Slot | None:
    """Return a slot to read changes; None: not now.

    Read-only scans take no concurrency slot; otherwise a busy system would never be scanned. The scan of a system that
    is down is its probe.
    """
    availability = read_availability(context.stores, context.settings, system)
    if availability is None:
        return None
    try:
        limits = context.rate_limits(system)
    except KeyError:
        return None
    slot = Slot(context.stores, availability)
    by_calls = tuple(limit for limit in limits if limit.is_long and not limit.per_subject)
    if by_calls:
        took = reserve(context.stores, system, by_calls, _CALLS_PER_PASS)
        if not took.granted:
            return None
        slot.quota = Quota(context.stores, by_calls, [took])
    return slot


def _fits_window(context: WorkerContext, slot: Slot, throttle: Throttle) -> bool:
    """Return True if the short windows have room for at least one person.

    Each worker that may call the system takes its share of the room.
    """
    if not throttle.limits:
        return True
    needed = math.ceil(throttle.calls_per_person)
    horizon = 0.0 if context.is_wanted(throttle.system) else _HORIZON_SECONDS
    room = context.gate.room(throttle.system, throttle.limits, needed, horizon)
    if room.granted < min(needed, *(limit.calls for limit in throttle.limits)):
        _cool_down(context, throttle.system, room.wait_seconds)
        return False
    share = room.granted / slot.availability.max_concurrency
    slot.max_subjects = _least(slot.max_subjects, max(1, int(share / throttle.calls_per_person)))
    return True


def _fits_long_limits(context: WorkerContext, slot: Slot, system: str, limits: tuple[RateLimit, ...]) -> bool:
    by_people = tuple(limit for limit in limits if limit.per_subject)
    by_calls = tuple(limit for limit in limits if limit.is_long and not limit.per_subject)
    people = _least(slot.max_subjects, context.settings.engine.batch_size)
    if by_people:
        slot.people = reserve(context.stores, system, by_people, people)
        if not slot.people.granted:
            _cool_down(context, system, slot.people.wait_seconds)
            return False
        people = slot.max_subjects = slot.people.granted
    if by_calls:
        each = context.throttle(system).calls_per_person
        took = reserve(context.stores, system, by_calls, math.ceil(people * each) + _CALLS_PER_PASS)
        if not took.granted:
            _cool_down(context, system, took.wait_seconds)
            return False
        slot.quota = Quota(context.stores, by_calls, [took])
        slot.max_subjects = _least(slot.max_subjects, max(1, int(took.granted / each)))
    return True


def _cool_down(context: WorkerContext, system: str, seconds: float) -> None:
    """Start a cooldown until there is room, less the time of the next wake-up.

    The call waits for the rest.
    """
    start_cooldown(
        context.stores, system, max(seconds - context.settings.engine.tick_seconds, 0.0), CooldownReason.RATE_WINDOW
    )


def _least(limit: int | None, other: int) -> int:
    return other if limit is None else min(limit, other)
