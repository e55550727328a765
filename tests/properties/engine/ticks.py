"""What the service does by itself, each once: the tasks that beat wakes, and one lease of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from connectors.base.transitions.states import Phase
from service.audit.sequence import sequence_audit
from service.execution import expire_leases as sweeping
from service.execution import lease as leasing
from service.execution.resolve_identities import walk
from service.requests.deadlines import mark_overdue
from service.requests.holds.lift import expire_holds
from service.requests.identity.resolve import lease_identities
from service.requests.planning.advance import advance_requests
from service.requests.seal import seal_due_requests
from tests.properties.engine.moods import Mood, PassMood
from tests.properties.engine.worker import WorkerPass
from tests.properties.engine.world import World


def identify(world: World) -> int:
    """Find out whom requests are about."""
    runtime = world.runtime_of_a_process()
    leased = lease_identities(world.stores, world.settings, limit=100)
    if leased:
        walk(runtime, leased)
    return len(leased)


def advance(world: World) -> int:
    """Take what follows from steps that moved on."""
    return advance_requests(world.stores, world.settings)


def sweep(world: World) -> int:
    """Free what dead processes left leased, and forget the keys that belong to nothing."""
    freed = sweeping.sweep_leases(world.stores)
    sweeping.sweep_orphan_keys(world.stores)
    return freed


def seal(world: World) -> int:
    """Seal what is over."""
    return seal_due_requests(world.stores)


def watch(world: World) -> int:
    """Mark what is overdue, lift holds whose time is over."""
    return mark_overdue(world.stores) + expire_holds(world.stores, world.clock.now())


def sequence(world: World) -> int:
    """Put pending entries into the tree."""
    world.check()
    batch = sequence_audit(world.stores.engine, world.signing_key())
    if batch.refused:
        world.ledger.wrong.append(f"I7: the sequencer refused {batch.refused} entries")
    return batch.entries


TICKS: Mapping[str, Callable[[World], int]] = {
    "advance": advance,
    "sweep": sweep,
    "seal": seal,
    "watch": watch,
    "sequence": sequence,
}


def lease(
    world: World, system: str, choose: Callable[[Phase], Mood], mood: PassMood = PassMood.WELL
) -> WorkerPass | None:
    """One worker leases a batch of the system; `choose` says how the vendor is towards each person."""
    leased = leasing.lease_steps(world.stores, world.settings, system)
    if leased is None:
        return None
    world.check()
    moods = look_moods = {step.ref: choose(leased.phase) for step in leased.steps}
    if leased.phase is Phase.ERASE and world.is_looked_at_once(system):
        look_moods = {step.ref: choose(Phase.CONFIRM) for step in leased.steps}
    works_on = WorkerPass(world, leased, moods, look_moods, mood)
    world.tell(f"{system} leased {leased.phase} fence {leased.fence}: {mood} {[str(m) for m in moods.values()]}")
    if look_moods is not moods:
        world.tell(f"  looks, if any: {[str(m) for m in look_moods.values()]}")
    world.ledger.leased(works_on)
    return works_on


def work(world: World, system: str) -> int:
    """One batch with an honest vendor."""
    works_on = lease(world, system, lambda _phase: Mood.HONEST)
    if works_on is None:
        return 0
    works_on.run()
    world.check()
    return 1


def turn(world: World) -> int:
    """What falls due now, each once, with honest vendors; what is only tidied, when nothing else was to do."""
    done = 0
    if any(r["next_action"] == "identify" for r in world.rows.requests.values()):
        done += identify(world)
        world.check()
    done += _advanced(world)
    for system in due_systems(world):
        done += work(world, system)
    done += _advanced(world)
    if not done:
        # The sequencer is a process of its own: while the log lags behind the clock, no effect starts.
        done = sweep(world) + seal(world) + watch(world) + sequence(world)
        world.check()
    return done


def _advanced(world: World) -> int:
    # The database counts its own readings of the clock, as in due_systems.
    now = world.clock.now() + timedelta(milliseconds=100)
    is_asked = any(at <= now for at in world.rows.checks.values())
    if not is_asked and not any(r["next_action"] == "freeze" for r in world.rows.requests.values()):
        return 0
    done = advance(world)
    world.check()
    return done


def due_systems(world: World) -> list[str]:
    """Connected systems with something to do now."""
    # The database counts its own readings of the clock: what it made due "now" is microseconds ahead of us.
    now = world.clock.now() + timedelta(milliseconds=100)
    return sorted(
        {
            s["system"]
            for s in world.rows.steps.values()
            if s["due_at"] is not None and s["due_at"] <= now and s["system"] in world.connected
        }
    )


def next_due(world: World) -> datetime | None:
    """The next instant, not yet there, at which something falls due or a lease runs out."""
    now = world.clock.now()
    rows = world.rows
    instants = [s["due_at"] for s in rows.steps.values()]
    instants += [r["due_at"] for r in rows.requests.values() if r["next_action"] is not None]
    instants += [r["lease_until"] for r in rows.requests.values()]
    instants += rows.checks.values()
    instants += [b["lease_until"] for b in rows.batches.values()]
    instants += [h.until for h in world.ledger.holds.values() if not h.is_lifted]
    return min((i for i in instants if i is not None and i > now), default=None)
