"""What requesters and the privacy team do. A refusal is an answer; what was not refused is written into the book."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from uuid import UUID

from connectors.base.values import Identifier
from service.domain.access.api_key import Caller, Scope
from service.domain.errors import Refusal
from service.domain.execution.events import Decision, ResolutionReason
from service.domain.identity.cluster import DoubtReason
from service.domain.identity.doubts import DoubtDecision
from service.domain.requests.holds import HoldReason, LiftReason
from service.domain.requests.states import DenialReason, ExtensionReason
from service.execution.steps.resolve import resolve_step
from service.requests.deadlines import extend_request
from service.requests.holds.lift import lift_hold
from service.requests.holds.place import place_hold
from service.requests.identity.review import LateVerification, Review, continue_request, link_request
from service.requests.identity.show import DoubtView
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.requests.planning.approve import approve_plan
from service.requests.show import show_request
from service.requests.withdraw import deny_request, revoke_request
from tests.properties.engine.chance import Chance
from tests.properties.engine.ledger import MAY_GO_ON_FOR, KnownHold
from tests.properties.engine.people import ALL_IDENTIFIERS, IDENTIFIERS, PEOPLE
from tests.properties.engine.snapshot import Row
from tests.properties.engine.world import SYSTEMS, InvariantBroken, World

_SUBMITTER, _COLLEAGUE = (UUID(int=n) for n in (1, 2))
REVIEWER = UUID(int=4)
_REVIEWABLE = ("needs_review", "need_user_verification")
_MOST_REQUESTS = 6


def requests(world: World, *reasons: str) -> list[Row]:
    """Requests in the order in which they came in; all, or those in progress for one of these reasons."""
    rows = sorted(world.rows.requests.values(), key=lambda row: row["created_at"])
    return [row for row in rows if not reasons or row["reason"] in reasons]


def parked(world: World) -> list[Row]:
    """Steps that wait for a human."""
    return sorted((s for s in world.rows.steps.values() if s["state"] == "parked"), key=lambda row: row["id"])


def holds(world: World) -> list[str]:
    """Holds that nobody has lifted."""
    return [key for key, hold in world.ledger.holds.items() if not hold.is_lifted]


def submit(world: World, chance: Chance) -> None:
    """A person, or somebody who claims more than is theirs; sometimes twice under one key, sometimes cut off."""
    if len(world.rows.requests) >= _MOST_REQUESTS:
        return
    given = {chance.one(IDENTIFIERS[chance.one(PEOPLE)]): not chance.once_in(5)}
    key = chance.one(("once", "twice")) if chance.once_in(4) else None
    if chance.once_in(3) and key is None:
        given |= {i: chance.once_in(2) for i in chance.some(ALL_IDENTIFIERS, 2) if i not in given}
    at = world.clock.now()
    submission = Submission(
        kind="erasure",
        regime=chance.one(("gdpr", "ccpa")),
        identifiers=tuple(
            SubmittedIdentifier(i, "email_link" if v else None, at if v else None) for i, v in given.items()
        ),
        received_at=at,
        external_reference=None,
        submitted_by=_SUBMITTER,
        idempotency_key=key,
    )
    with world.dying_after(chance.death()), contextlib.suppress(Refusal):
        receipt = submit_request(world.stores, world.settings, submission)
        world.ledger.accepted.add(receipt.id)
        if not receipt.replayed:
            world.ledger.seeds[receipt.id] = given
        world.tell(f"submitted {sorted(str(v) for v in given.values())}")


def review(world: World, chance: Chance) -> None:
    """A reviewer decides every doubt, drops what else isn't the person's, or proves what was only claimed."""
    request = chance.one(requests(world, *_REVIEWABLE))["id"]
    rows = sorted(world.rows.identifiers[request], key=lambda row: row["id"])
    drop = chance.some(rows, 3)
    verify = chance.once_in(2)
    unproven = [r for r in rows if r["origin"] == "submitted" and r["verification_method"] is None]
    proven = [r for r in unproven if verify and r not in drop]
    ledger, at = world.ledger, world.clock.now()
    shown = show_request(world.stores, UUID(request), masks=False)
    decided = [(doubt, _decision(doubt, drop, proven, chance)) for doubt in shown.doubts]
    word = Review(
        decisions=[(doubt.id, decision) for doubt, decision in decided],
        doubts_version=shown.doubts_version - chance.once_in(10),
        drop=[UUID(r["id"]) for r in drop],
        verify=[LateVerification(UUID(r["id"]), "phone_call", at) for r in proven],
    )
    with contextlib.suppress(Refusal):
        continue_request(world.stores, UUID(request), word, caller=Caller(REVIEWER, frozenset(Scope)))
        if shown.doubts_version != word.doubts_version:
            raise InvariantBroken("a review of older doubts was carried out")
        gone = {str(row) for d, w in decided if w is DoubtDecision.DROP and d.edge is None for row in d.identifiers}
        ledger.dropped[request] |= {ledger.by_hash[r["hash"]] for r in rows if r in drop or r["id"] in gone}
        proven_now: dict[Identifier, bool] = {ledger.by_hash[r["hash"]]: True for r in proven}
        ledger.seeds[request] = ledger.seeds.get(request, {}) | proven_now
        world.tell(f"reviewed: {len(drop)} dropped, {len(proven)} verified")


def _decision(doubt: DoubtView, drop: Sequence[Row], proven: Sequence[Row], chance: Chance) -> DoubtDecision:
    """Mostly one that agrees with the rest of the review; sometimes any."""
    named = {str(row) for row in doubt.identifiers}
    if named & {row["id"] for row in drop} or "keep" not in doubt.allowed:
        return DoubtDecision.DROP
    if doubt.reason == DoubtReason.UNVERIFIED_IDENTIFIER and not named <= {row["id"] for row in proven}:
        return DoubtDecision.DROP
    return DoubtDecision.DROP if chance.once_in(2) else DoubtDecision.KEEP


def link(world: World, chance: Chance) -> None:
    """A reviewer says that a request repeats another."""
    request, other = chance.one(requests(world, "needs_review")), chance.one(requests(world))
    with contextlib.suppress(Refusal):
        link_request(world.stores, UUID(request["id"]), to=UUID(other["id"]), actor="cli")
        world.tell("linked")


def approve(world: World, chance: Chance) -> None:
    """A second person approves the newest plan; or the submitter tries, or somebody with an old hash."""
    request = chance.one(requests(world, "awaiting_approval"))
    version = max(1, request["plan_version"] - int(chance.once_in(4)))
    plan = world.rows.plans[request["id"], version]
    by = chance.one((_SUBMITTER, REVIEWER)) if chance.once_in(4) else _COLLEAGUE
    with contextlib.suppress(Refusal):
        approve_plan(
            world.stores,
            world.settings,
            UUID(request["id"]),
            plan_hash=plan["hash"],
            caller=Caller(by, frozenset(Scope)),
        )
        if by == _SUBMITTER:
            raise InvariantBroken("I6: the submitter approved their own plan")
        if by == REVIEWER and show_request(world.stores, UUID(request["id"]), masks=False).reviews:
            raise InvariantBroken("I6: the reviewer approved as the second person")
        world.ledger.approved.add(plan["hash"])
        world.tell("approved")


def withdraw(world: World, chance: Chance, among: Sequence[UUID] = ()) -> None:
    """Denied by the privacy team or revoked by the requester."""
    request = chance.one(among or [UUID(row["id"]) for row in requests(world)])
    denies = chance.once_in(2)
    with contextlib.suppress(Refusal):
        if denies:
            deny_request(world.stores, request, reason=DenialReason.NO_MATCH, actor="cli")
        else:
            revoke_request(world.stores, request, actor="cli")


def extend(world: World, chance: Chance) -> None:
    """The one extension."""
    request = UUID(chance.one(requests(world))["id"])
    with contextlib.suppress(Refusal):
        extend_request(world.stores, world.settings, request, reason=ExtensionReason.COMPLEXITY, actor="cli")


def hold(world: World, chance: Chance, known_by: Sequence[Identifier] = ()) -> None:
    """The legal department holds a person."""
    identifier = chance.one(known_by or IDENTIFIERS[chance.one(PEOPLE)])
    at = world.clock.now()
    until = at + chance.moment() if chance.once_in(2) else None
    placed = place_hold(
        world.stores,
        world.settings,
        identifiers=[identifier],
        reason=HoldReason.LITIGATION,
        until=until,
        caller=Caller(_COLLEAGUE, frozenset(Scope)),
    )
    # Believed no longer than promised (I6).
    effective_at = min(placed.effective_at, at + MAY_GO_ON_FOR)
    world.ledger.holds[str(placed.id)] = KnownHold(frozenset({identifier}), effective_at, until)
    world.tell(f"held until {until}")


def lift(world: World, chance: Chance) -> None:
    """And lets them go."""
    key = chance.one(holds(world))
    with contextlib.suppress(Refusal):
        lift_hold(world.stores, UUID(key), reason=LiftReason.MATTER_CLOSED, actor="cli")
        world.ledger.holds[key].is_lifted = True
        world.tell("hold lifted")


def resolve(world: World, chance: Chance) -> None:
    """A named human decides about a parked step."""
    step = chance.one(parked(world))
    decision = chance.one([Decision.RETRY, Decision.RETRY, Decision.RETRY, *Decision])
    with contextlib.suppress(Refusal):
        resolve_step(
            world.stores,
            UUID(step["request_id"]),
            step["system"],
            decision=decision,
            reason=ResolutionReason.CHECKED_BY_HAND,
            actor="cli",
        )
        world.tell(f"decided {decision}")
        if decision not in (Decision.RETRY, Decision.ACCEPT_RECORDS):
            world.ledger.decided.add(step["id"])


def configure(world: World, chance: Chance) -> None:
    """An operator takes a system out of the configuration, or brings it back."""
    system = chance.one(sorted(SYSTEMS))
    connected = world.connected
    world.connect(connected - {system} if system in connected else connected | {system})
    world.tell(f"configured: {sorted(world.connected)}")
