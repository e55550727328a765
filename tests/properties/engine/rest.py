"""The end of a run: every fault stops, the engine must come to rest, and people do what only people can.

First by itself: each pair ends or is parked for a reason that it says. Then holds are lifted, plans approved, reviews
decided and parked steps tried again; after that nothing may be left over anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import text

from connectors.base.transitions.states import EARLIER_SYSTEM, ENDED
from service.audit.rebuild import replay_audit
from service.audit.sequence import checkpoint_everything
from service.domain.access.api_key import Caller, Scope
from service.domain.errors import Refusal
from service.domain.execution.events import Decision, ResolutionReason
from service.domain.identity.doubts import DoubtDecision
from service.domain.requests.holds import LiftReason
from service.domain.requests.states import DenialReason
from service.execution.expire_leases import sweep_orphan_keys
from service.execution.steps.resolve import resolve_step
from service.requests.holds.lift import lift_hold
from service.requests.identity.review import Review, continue_request
from service.requests.planning.approve import approve_plan
from service.requests.show import show_request
from service.requests.withdraw import deny_request
from tests.audit_replay import differences
from tests.properties.engine import ticks
from tests.properties.engine.acts_of_people import REVIEWER
from tests.properties.engine.snapshot import Row
from tests.properties.engine.world import SYSTEMS, InvariantBroken, World

_APPROVER = Caller(UUID(int=3), frozenset(Scope))
_REVIEWER = Caller(REVIEWER, frozenset(Scope))
_MOST_TURNS = 400
_MOST_HUMAN_ROUNDS = 12
# What a second honest try may still end in: only what a human has to decide, not what trying again would have mended.
_FOR_HUMANS = ("not_addressable", "ambiguous")


def come_to_rest(world: World) -> None:
    """Raises InvariantBroken for everything that is stuck, lost or left over."""
    world.tell("--- all faults stop")
    world.connect(SYSTEMS)
    _rest(world)
    _nothing_is_stuck(world)
    tried: Counter[str] = Counter()
    for _ in range(_MOST_HUMAN_ROUNDS):
        world.tell("--- people act")
        if not _people_act(world, tried):
            break
        _rest(world)
    _nothing_is_left(world)


def _rest(world: World) -> None:
    """Turn until nothing is done and nothing falls due any more."""
    for _ in range(_MOST_TURNS):
        if ticks.turn(world):
            continue
        due_at = _next(world)
        if due_at is None:
            return
        world.move_clock(max(due_at, timedelta(0)) + timedelta(seconds=1))
    _raise(world, [f"the engine did not come to rest: {_unfinished(world)}"])


def _next(world: World) -> timedelta | None:
    """How long until something falls due, but for what is asked again and again while a human hasn't acted."""
    now = world.clock.now()
    rows = world.rows
    instants = [s["due_at"] for s in rows.steps.values() if s["reason"] != EARLIER_SYSTEM]
    instants += [
        r["due_at"]
        for r in rows.requests.values()
        if r["next_action"] is not None and not (r["next_action"] == "seal" and world.ledger.is_held(r["id"]))
    ]
    instants += [r["lease_until"] for r in rows.requests.values() if r["next_action"] is not None]
    instants += [b["lease_until"] for b in rows.batches.values()]
    instants += rows.checks.values()
    instants += [h.until for h in world.ledger.holds.values() if not h.is_lifted and h.until and h.until > now]
    due = [i - now for i in instants if i is not None]
    return min(due, default=None)


def _nothing_is_stuck(world: World) -> None:
    rows = world.rows
    wrong = []
    for step in rows.steps.values():
        waits = step["reason"] == EARLIER_SYSTEM or (
            step["state"] == "waiting" and rows.requests[step["request_id"]]["reason"] == "awaiting_approval"
        )
        if step["state"] not in ENDED and step["state"] != "parked" and not waits:
            wrong.append(f"stuck: {_told(step)}")
    wrong += [f"a batch of phase {b['phase']} is open and leased" for b in rows.batches.values() if b["lease_until"]]
    if rows.checks:
        wrong.append("a request is asked to be looked at, and nobody does")
    _raise(world, wrong)


def _people_act(world: World, tried: Counter[str]) -> int:
    """Everything that waits for a human is decided once. Returns how much there was to decide."""
    acts = 0
    for key, hold in world.ledger.holds.items():
        if not hold.is_lifted:
            hold.is_lifted = True
            acts += _tries(partial(lift_hold, world.stores, UUID(key), reason=LiftReason.OTHER, actor="cli"))
    for request_id in sorted(world.rows.requests):
        acts += _decide(world, world.rows.requests[request_id], tried)
        world.check()
    for step_id in sorted(world.rows.steps):
        acts += _resolve(world, world.rows.steps[step_id], tried)
        world.check()
    return acts


def _decide(world: World, request: Row, tried: Counter[str]) -> int:
    request_id, reason = UUID(request["id"]), request["reason"]
    if reason == "awaiting_approval":
        plan = world.rows.plans[request["id"], request["plan_version"]]
        world.ledger.approved.add(plan["hash"])
        approve_plan(world.stores, world.settings, request_id, plan_hash=plan["hash"], caller=_APPROVER)
        return 1
    if reason not in ("needs_review", "need_user_verification"):
        return 0
    tried[request["id"]] += 1
    if tried[request["id"]] <= 2 and _tries(lambda: _keep_all(world, request_id)):
        return 1
    deny_request(world.stores, request_id, reason=DenialReason.NO_MATCH, actor="cli")
    return 1


def _keep_all(world: World, request_id: UUID) -> None:
    """Keep what may be kept: a second person approves it afterwards."""
    shown = show_request(world.stores, request_id, masks=False)
    decisions = [
        (doubt.id, DoubtDecision(doubt.allowed[0] if doubt.reason != "unverified_identifier" else "drop"))
        for doubt in shown.doubts
    ]
    review = Review(decisions=decisions, doubts_version=shown.doubts_version)
    continue_request(world.stores, request_id, review, caller=_REVIEWER)


def _resolve(world: World, step: Row, tried: Counter[str]) -> int:
    if step["state"] != "parked":
        return 0
    tried[step["id"]] += 1
    decision = Decision.RETRY
    if tried[step["id"]] > 1:
        if not step["reason"].startswith(_FOR_HUMANS):
            _raise(world, [f"tried again with an honest vendor, and still {_told(step)}"])
        decision = Decision.UNRESOLVED
        world.ledger.decided.add(step["id"])
    if not _tries(lambda: _resolved(world, step, decision)):
        world.ledger.decided.add(step["id"])
        _resolved(world, step, Decision.UNRESOLVED)
    return 1


def _resolved(world: World, step: Row, decision: Decision) -> None:
    resolve_step(
        world.stores,
        UUID(step["request_id"]),
        step["system"],
        decision=decision,
        reason=ResolutionReason.CHECKED_BY_HAND,
        actor="cli",
    )


def _tries(act: Callable[[], None]) -> bool:
    try:
        act()
    except Refusal:
        return False
    return True


def _nothing_is_left(world: World) -> None:
    rows = world.rows
    wrong = [f"not ended: {_told(s)}" for s in rows.steps.values() if s["state"] not in ENDED]
    for request in rows.requests.values():
        if request["state"] in ("open", "in_progress"):
            wrong.append(f"unanswered: request {request['state']} {request['reason']}")
        elif request["sealed_at"] is None:
            wrong.append(f"unsealed: request {request['state']}, next_action {request['next_action']}")
    if rows.batches:
        wrong.append(f"{len(rows.batches)} batches are still open")
    sweep_orphan_keys(world.stores, older_than_seconds=0)
    if world.key_owners():
        wrong.append("a data key is left of what is sealed or over")
    _raise(world, wrong)
    checkpoint_everything(world.stores.engine, world.signing_key())
    report = replay_audit(world.stores.engine)
    _raise(world, [*(f"I7: {d}" for d in report.differences), *differences(world.stores.engine), *_canaries(world)])


def _canaries(world: World) -> Iterator[str]:
    """I9 at the end: after sealing, nobody's value stands anywhere."""
    counts = [
        f"SELECT '{table}', count(*) FROM {table} t WHERE t::text LIKE '%canary%' OR t::text LIKE :hex"
        for table in world.tables
    ]
    with world.stores.engine.begin() as connection:
        for table, found in connection.execute(text(" UNION ALL ".join(counts)), {"hex": f"%{b'canary'.hex()}%"}):
            if found:
                yield f"I9: personal data in {found} rows of {table}"


def _unfinished(world: World) -> str:
    steps = [_told(s) for s in world.rows.steps.values() if s["state"] not in ENDED]
    requests = [
        f"request {r['state']} {r['reason']} {r['next_action']}"
        for r in world.rows.requests.values()
        if r["next_action"]
    ]
    return "; ".join(steps + requests)


def _told(step: Row) -> str:
    return f"step of {step['system']}, {step['phase']} {step['state']} {step['reason']}, due {step['due_at']}"


def _raise(world: World, wrong: list[str]) -> None:
    if wrong:
        raise InvariantBroken("\n".join([*wrong, "", *world.story]))
