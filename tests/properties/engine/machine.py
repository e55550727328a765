"""The state machine: what requesters, the privacy team, workers, vendors and time may do, in any order.

After every act the world is compared with its book (`World.check`); at the end of a run all faults stop and the engine
must come to rest with nothing lost (`rest`).

There is one rule, which draws the next act from a table: Hypothesis would else switch off half of the rules in each
run, and most runs would be of nobody who submits or nobody who works. Each run leaves out some acts, never the needed.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.properties.engine import acts_of_people as people
from tests.properties.engine import ticks
from tests.properties.engine.chance import Chance
from tests.properties.engine.moods import Mood
from tests.properties.engine.people import ADDRESSES, IDENTIFIERS, PEOPLE, SHARED_MAILBOX
from tests.properties.engine.rest import come_to_rest
from tests.properties.engine.worker import WorkerPass
from tests.properties.engine.world import SYSTEMS, InvariantBroken, World

_MOST_RECORDS = 8
_MOST_PASSES = 3
_AS_OFTEN_IN_FOCUS = 2
_TO_ITS_END = 50
_RENEWED_EVERY = timedelta(seconds=10)
_SEEDS = st.integers(0, 2**64 - 1)


@dataclass(frozen=True)
class Act:
    """Something that may happen. `weight`: how often among those that are possible; `is_needed`: in every run."""

    do: Callable[[EngineMachine], None]
    weight: int = 1
    is_needed: bool = False
    is_possible: Callable[[EngineMachine], object] = lambda _machine: True


@dataclass(frozen=True)
class Focus:
    """Runs of a few acts, often, beside the needed; of these kinds of systems, and in these moods where one may choose.

    `always_approve`: every plan waits for its approval; else those of every fourth run.
    """

    acts: frozenset[str]
    kinds: Collection[str] = ()
    moods: Collection[Mood] = tuple(Mood)
    always_approve: bool = False


class EngineMachine(RuleBasedStateMachine):
    """`world` is set by whoever runs it and outlives the runs; without a `focus` a run may be of anything."""

    world: World
    focus: Focus | None = None

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[WorkerPass] = []
        self.chance: Chance
        self._seed = 0
        self._weights: dict[str, int] = {}

    @initialize(seed=_SEEDS)
    def begin(self, seed: int) -> None:
        # Seeds of acts are often alike; that they mean something else in each run keeps them from being one act.
        self._seed = seed
        self.chance = Chance(str(seed))
        optional = [name for name, act in ACTS.items() if not act.is_needed]
        focus = self.focus or Focus(frozenset(optional) - {*self.chance.some(optional, len(optional) // 2)})
        often = 1 if self.focus is None else _AS_OFTEN_IN_FOCUS
        self._weights = {name: act.weight for name, act in ACTS.items() if act.is_needed}
        self._weights |= {name: ACTS[name].weight * often for name in optional if name in focus.acts}
        kinds = {name: self.chance.one([k for k in may if k in focus.kinds] or may) for name, may in SYSTEMS.items()}
        approves = focus.always_approve or self.chance.once_in(4)
        # Rarely: most leases would be refused for want of company, and the run be of nobody who works.
        self.world.begin(kinds, always_approve=approves, coalesces=self.chance.once_in(8))
        self.world.tell(f"kinds: {kinds}")
        for system, person in itertools.product(sorted(SYSTEMS), PEOPLE):
            if not self.chance.once_in(3):
                self._add_record(system, person)
        for _ in range(self.chance.number(1, 3)):
            people.submit(self.world, self.chance)
        self.settle()

    @rule(seed=_SEEDS)
    def act(self, seed: int) -> None:
        self.chance = Chance(f"{self._seed}/{seed}")
        weights = self._weights.items()
        possible = [name for name, weight in weights if ACTS[name].is_possible(self) for _ in range(weight)]
        ACTS[self.chance.one(possible)].do(self)

    @invariant()
    def nothing_is_broken(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        for works_on in self.passes:
            works_on.kill()
        if sys.exc_info()[0] is None:
            come_to_rest(self.world)

    # The service by itself.

    def settle(self) -> None:
        """Who requests are about, and what follows; the graph may be down, the process may die."""
        self.world.graph.is_down = self.chance.once_in(8)
        with self.world.dying_after(self.chance.death()):
            ticks.identify(self.world)
            ticks.advance(self.world)
        self.world.graph.is_down = False

    def tick(self) -> None:
        """One of the tasks that beat wakes."""
        name, dies_after = self.chance.one(sorted(ticks.TICKS)), self.chance.death()
        with self.world.dying_after(dies_after):
            ticks.TICKS[name](self.world)
        if name == "watch" and dies_after is None:
            self._expect_overdue_to_be_marked()

    def turn(self) -> None:
        """Everything that is due, once, with honest vendors."""
        ticks.turn(self.world)

    # Workers, one pass at a time or piece by piece.

    def work(self) -> None:
        """A pass from lease to record; the process may die at any point that the vendor sees."""
        works_on = self._leased()
        if works_on is not None:
            works_on.run(dies_at=self.chance.number(0, 12) if self.chance.once_in(5) else None)
            if works_on.delivery is not None:
                self.passes = [*self.running(), *self.delivered()[-2:], works_on]

    def die_between_transactions(self) -> None:
        """A pass whose process dies at the beginning or the end of a transaction."""
        works_on = self._leased()
        if works_on is not None:
            with self.world.dying_after(self.chance.number(0, 12)):
                works_on.run()

    def begin_pass(self) -> None:
        """A pass that stops somewhere, to go on later."""
        works_on = self._leased()
        if works_on is not None:
            self.passes.append(works_on)
            self._go_on(works_on, self.chance.number(0, 4))

    def go_on(self) -> None:
        """It goes on, for a while or to its end."""
        self._go_on(self.chance.one(self.running()), self.chance.one((1, 2, 3, _TO_ITS_END)))

    def outlive_lease(self) -> None:
        """One sleeps until its lease is over and somebody else has what it had; then it goes on to its end. Perhaps it
        fell asleep before it did anything."""
        begins = _is_due(self) and self.chance.once_in(2)
        sleeper = self._leased() if begins or not self.running() else self.chance.one(self.running())
        if sleeper is None:
            return
        if sleeper not in self.passes:
            self.passes.append(sleeper)
        self.world.move_clock(timedelta(seconds=self.world.settings.engine.lease_seconds + 1))
        ticks.sweep(self.world)
        self.world.check()
        follower = (
            self._leased(sleeper.leased.system) if sleeper.leased.system in ticks.due_systems(self.world) else None
        )
        if follower is not None:
            self.passes.append(follower)
            self._go_on(follower, self.chance.number(0, 3))
        self._go_on(sleeper, _TO_ITS_END)

    def kill(self) -> None:
        """It is killed."""
        works_on = self.chance.one(self.running())
        works_on.kill()
        self.passes.remove(works_on)

    def renew(self) -> None:
        """Its lease is renewed, as its own thread would."""
        lease = self.chance.one(self.renewable()).lease
        assert lease is not None
        lease.renew_once()

    def take_long(self) -> None:
        """A vendor takes long over one call, while its lease is renewed as it should be."""
        self._take_long(self.chance.one(self.renewable()))

    def _take_long(self, works_on: WorkerPass) -> None:
        assert works_on.lease is not None
        for _ in range(self.chance.number(2, 5)):
            self.world.move_clock(_RENEWED_EVERY)
            works_on.lease.renew_once()

    def stop_somebody(self) -> None:
        """Somebody whom a pass is about is held, or withdraws, while it is under way, perhaps for long."""
        works_on = self.chance.one(self.renewable())
        step = self.chance.one(works_on.leased.steps)
        if self.chance.once_in(2):
            people.hold(self.world, self.chance, step.subject.identifiers)
        else:
            people.withdraw(self.world, self.chance, [step.request_id])
        if self.chance.once_in(2):
            self._take_long(works_on)
            self._go_on(works_on, _TO_ITS_END)

    def deliver_again(self) -> None:
        """Answers that were recorded arrive a second time."""
        self.chance.one(self.delivered()).deliver_again()

    # Vendors and time.

    def come_again(self) -> None:
        """A vendor comes to know a person, perhaps by what two people share."""
        self._add_record(self.chance.one(sorted(SYSTEMS)), self.chance.one(PEOPLE))

    def _add_record(self, system: str, person: str) -> None:
        vendor = self.world.vendors[system]
        carries = {ADDRESSES[person][0], IDENTIFIERS[person][-1]}
        if self.chance.once_in(4):
            carries |= {ADDRESSES[person][-1], SHARED_MAILBOX if self.chance.once_in(2) else ADDRESSES[person][-1]}
        if len(vendor.holds) < _MOST_RECORDS:
            vendor.add(carries)
            self.world.tell(f"{vendor.name} knows {person} by {len(carries)}")

    def wait(self) -> None:
        """Time passes."""
        self.world.move_clock(self.chance.moment())

    def wait_until_due(self) -> None:
        """Time passes until the next thing falls due, or a lease runs out."""
        due_at = ticks.next_due(self.world)
        # Every reading of the clock moves it a little: what was still to come may be there by now.
        if due_at is not None:
            self.world.move_clock(max(due_at - self.world.clock.now(), timedelta(0)) + timedelta(seconds=1))

    # What there is to choose from.

    def running(self) -> list[WorkerPass]:
        """Passes that have stopped somewhere."""
        return [p for p in self.passes if not p.is_over]

    def renewable(self) -> list[WorkerPass]:
        """Those that hold their lease already."""
        return [p for p in self.running() if p.lease is not None]

    def delivered(self) -> list[WorkerPass]:
        """Passes whose answers were recorded."""
        return [p for p in self.passes if p.is_over and p.delivery is not None]

    def _leased(self, system: str | None = None) -> WorkerPass | None:
        system = system or self.chance.one(ticks.due_systems(self.world))
        moods = self.focus.moods if self.focus is not None else Mood
        return ticks.lease(self.world, system, partial(self.chance.mood, moods=moods), self.chance.pass_mood())

    def _go_on(self, works_on: WorkerPass, steps: int) -> None:
        for _ in range(steps):
            if not works_on.is_over:
                works_on.go_on()

    def _expect_overdue_to_be_marked(self) -> None:
        self.world.check()
        now = self.world.clock.now()
        for request in self.world.rows.requests.values():
            unmarked = request["state"] in ("open", "in_progress") and request["overdue_at"] is None
            if unmarked and request["respond_by"] < now:
                raise InvariantBroken("I1: an overdue request isn't marked")


def _of_people(act: Callable[[World, Chance], None]) -> Callable[[EngineMachine], None]:
    return lambda machine: act(machine.world, machine.chance)


def _is_due(machine: EngineMachine) -> bool:
    return bool(ticks.due_systems(machine.world))


ACTS: dict[str, Act] = {
    "turn": Act(EngineMachine.turn, is_needed=True),
    "settle": Act(EngineMachine.settle, 2, is_needed=True),
    "work": Act(EngineMachine.work, 14, is_needed=True, is_possible=_is_due),
    "wait_until_due": Act(
        EngineMachine.wait_until_due, 6, is_needed=True, is_possible=lambda m: ticks.next_due(m.world)
    ),
    "tick": Act(EngineMachine.tick, 3, is_needed=True),
    "submit": Act(_of_people(people.submit)),
    "review": Act(_of_people(people.review), 2, is_possible=lambda m: people.requests(m.world, "needs_review")),
    "verify": Act(_of_people(people.review), is_possible=lambda m: people.requests(m.world, "need_user_verification")),
    "link": Act(_of_people(people.link), is_possible=lambda m: people.requests(m.world, "needs_review")),
    "approve": Act(_of_people(people.approve), 3, is_possible=lambda m: people.requests(m.world, "awaiting_approval")),
    "withdraw": Act(_of_people(people.withdraw), is_possible=lambda m: people.requests(m.world)),
    "extend": Act(_of_people(people.extend), is_possible=lambda m: people.requests(m.world)),
    "hold": Act(_of_people(people.hold)),
    "lift": Act(_of_people(people.lift), is_possible=lambda m: people.holds(m.world)),
    "resolve": Act(_of_people(people.resolve), 3, is_possible=lambda m: people.parked(m.world)),
    "configure": Act(_of_people(people.configure)),
    "die_between_transactions": Act(EngineMachine.die_between_transactions, 2, is_possible=_is_due),
    "begin_pass": Act(
        EngineMachine.begin_pass, 8, is_possible=lambda m: _is_due(m) and len(m.running()) < _MOST_PASSES
    ),
    "go_on": Act(EngineMachine.go_on, 4, is_possible=EngineMachine.running),
    "outlive_lease": Act(EngineMachine.outlive_lease, 2, is_possible=lambda m: m.running() or _is_due(m)),
    "kill": Act(EngineMachine.kill, is_possible=EngineMachine.running),
    "renew": Act(EngineMachine.renew, 2, is_possible=EngineMachine.renewable),
    "take_long": Act(EngineMachine.take_long, 2, is_possible=EngineMachine.renewable),
    "stop_somebody": Act(EngineMachine.stop_somebody, 2, is_possible=EngineMachine.renewable),
    "deliver_again": Act(EngineMachine.deliver_again, 3, is_possible=EngineMachine.delivered),
    "come_again": Act(EngineMachine.come_again),
    "wait": Act(EngineMachine.wait, 2),
}
