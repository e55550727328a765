"""design.md's invariants as far as rows tell them, between one step of the machine and the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from connectors.base.transitions.states import ENDED, StepState
from tests.properties.engine.connectors import MODEL_CONNECTORS
from tests.properties.engine.ledger import WITHDRAWN
from tests.properties.engine.snapshot import Row, Snapshot

if TYPE_CHECKING:
    from tests.properties.engine.world import World

_WAITS_FOR_A_HUMAN = ("needs_review", "need_user_verification", "awaiting_approval")
_UNFINISHED = ("open", "in_progress")


def broken(world: World, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Every invariant that the step from `before` to `after` broke."""
    yield from _nothing_is_lost(world, before, after)
    for request in after.requests.values():
        yield from _request_goes_on(after, request)
        yield from _suppression_holds(after, request)
        yield from _plan_is_whole(world, before, after, request)
    for step in after.steps.values():
        yield from _step_goes_on(after, step)
        was = before.steps.get(step["id"])
        if was is not None and was["state"] in ENDED:
            if was != step and (was["state"], was["ended_at"], was["reason"]) != (
                step["state"],
                step["ended_at"],
                step["reason"],
            ):
                yield f"I2: a step ended as {was['state']} and then became {step['state']}"
        elif step["state"] in ENDED:
            yield from _end_was_earned(world, after, step)


def _nothing_is_lost(world: World, before: Snapshot, after: Snapshot) -> Iterator[str]:
    if not world.ledger.accepted <= after.requests.keys():
        yield "an accepted request is gone"
    if not before.steps.keys() <= after.steps.keys():
        yield "I2: a pair is gone"
    for request_id, request in before.requests.items():
        if request["plan_version"] and len(before.steps_of(request_id)) != len(after.steps_of(request_id)):
            yield "I2: a frozen plan has another number of pairs"
        if after.requests[request_id]["plan_version"] < request["plan_version"]:
            yield "I2: a plan's version fell"


def _request_goes_on(rows: Snapshot, request: Row) -> Iterator[str]:
    """I3 for requests: each has a next action, unfinished steps, a decision to wait for, or a scheduled check."""
    where = f"request {request['state']} {request['reason']}"
    if request["id"] in rows.checks:
        return
    if request["next_action"] is not None:
        if request["due_at"] is None:
            yield f"I3: {where} owes {request['next_action']} at no time"
        return
    steps = rows.steps_of(request["id"])
    all_ended = all(s["state"] in ENDED for s in steps)
    if request["state"] not in _UNFINISHED:
        if all_ended and request["sealed_at"] is None:
            yield f"I3: {where} has ended everywhere and nobody will seal it"
    elif request["duplicate_of"] is not None:
        if (
            rows.requests[request["duplicate_of"]]["state"] not in _UNFINISHED
            and request["duplicate_of"] not in rows.checks
        ):
            yield f"I3: {where} waits for a request that has ended"
    elif request["reason"] not in _WAITS_FOR_A_HUMAN and all_ended:
        yield f"I3: {where} has nothing left to do and nobody will answer it"


def _step_goes_on(rows: Snapshot, step: Row) -> Iterator[str]:
    """I3 for steps."""
    where = f"step {step['phase']} {step['state']} {step['reason']}"
    state, request = step["state"], rows.requests[step["request_id"]]
    if (state in ENDED) != (step["ended_at"] is not None):
        yield f"I3: {where} has no instant of its end, or an instant without an end"
    if (state in ("due", "accepted")) != (step["due_at"] is not None):
        yield f"I3: {where} has no due time, or one that nobody looks at"
    if state == "parked" and not step["reason"]:
        yield f"I3: {where} doesn't say why"
    if state == "waiting" and request["next_action"] != "freeze" and request["reason"] != "awaiting_approval":
        yield f"I3: {where} waits for nothing"
    batch = rows.batches.get(step["batch_id"] or "")
    if state == "leased" and batch is None:
        yield f"I3: {where} is in no open batch"
    if state in ("due", "accepted") and step["batch_id"] is not None:
        if batch is None:
            yield f"I3: {where} waits in a batch that is over"
        elif batch["phase"] != step["phase"]:
            yield f"I3: {where} waits in a batch of phase {batch['phase']}"


def _suppression_holds(rows: Snapshot, request: Row) -> Iterator[str]:
    """I10: from the freeze on, unless the request was withdrawn."""
    entries = rows.suppressed.get(request["id"], {})
    if request["state"] in WITHDRAWN:
        if any(entries.values()):
            yield "I10: a withdrawn request's person is still suppressed"
    elif request["plan_version"] and not all(entries.get(h) for h in rows.used(request["id"], "planned")):
        yield "I10: a frozen identifier is not on the suppression list"


def _plan_is_whole(world: World, before: Snapshot, after: Snapshot, request: Row) -> Iterator[str]:
    """I6: a plan that reaches far says that it needs approval; nothing is dropped into a plan that a human took out."""
    was = before.requests.get(request["id"])
    if not request["plan_version"] or (was is not None and was["plan_version"] == request["plan_version"]):
        return
    plan = after.plans[request["id"], request["plan_version"]]
    steps = after.steps_of(request["id"])
    counts = [sum(s["counts"].values()) for s in steps]
    limits = world.settings.approval
    identifiers = len(after.used(request["id"], "planned"))
    far = limits.always or identifiers > limits.max_identifiers or max(counts) > limits.max_records_per_system
    customers = {h for h in after.used(request["id"], "planned") if world.ledger.by_hash[h].kind == "customer_id"}
    if len(customers) > 1 and "two_values_kept" not in plan["approval_reasons"]:
        yield "I6: two customers are in one plan, and no second person is asked"
    far = far or bool(request["second_person_for"])
    if far != bool(plan["approval_reasons"]):
        yield f"I6: a plan of {identifiers} identifiers and {max(counts)} records asks for {plan['approval_reasons']}"
    if any(s["plan_version"] is None for s in steps):
        yield "I2: a step is in no plan"


def _end_was_earned(world: World, rows: Snapshot, step: Row) -> Iterator[str]:
    """Nothing is called done that was not seen to be done."""
    state, vendor = step["state"], world.vendors[step["system"]]
    ref = UUID(step["id"]).hex
    effects = [e for e in vendor.effects if e.ref == ref]
    declared = MODEL_CONNECTORS[world.kind_of(step["system"])].declaration
    if state in (StepState.ERASED_VERIFIED, StepState.ABSENT):
        look = vendor.looks.get(ref)
        if look is None:
            yield f"{state} although nobody looked"
        elif look.still_held:
            yield f"{state} although the vendor holds {len(look.still_held)} records"
        elif any(look.at < e.at + declared.delays.confirm_after for e in effects):
            yield f"{state} by a look that came too early"
        if state == StepState.ABSENT and effects:
            yield "absent although something was erased"
    if state == StepState.ERASED_UNVERIFIED and declared.can_confirm:
        yield "erased_unverified in a system that can be looked into"
    by_hand = step["id"] in world.ledger.decided
    if state == StepState.UNRESOLVED and not by_hand:
        yield "unresolved without a human"
    if state == StepState.NOT_ADDRESSABLE and not by_hand and not world.accepts_not_addressable(step["system"]):
        yield "not_addressable without a human or a policy"
    if state == StepState.RETAINED and not step["reason"]:
        yield "retained without a reason"
