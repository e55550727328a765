"""Start the steps of frozen plans.

The steps of the first position start at once, later ones after them or when their waiting time is over. Decides when
each system's step starts. Runs inside a transaction of the caller, which has locked the requests and their steps; a
plan that needs no approval is frozen and released in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import (
    ENDED,
    Phase,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from service.domain.errors import Refusal
from service.domain.execution.decide import decide
from service.domain.execution.events import PlanReleased
from service.domain.requests.states import RequestKind
from service.requests.holds.active import held_requests
from service.requests.planning.store import StoredStep, lock_plan_steps
from service.requests.records.changes import release
from service.requests.records.rows import PlannedRequest, StoredRequest, VersionedRequest, request_change
from service.requests.steps.starts import Start, write_starts
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import request_check, version_of
from service.system_rules import rules_of


def release_plan(
    connection: Connection, settings: Settings, request: StoredRequest, approved: Change, *, actor: str, at: datetime
) -> None:
    """Release one locked request's newest plan, together with the entry that says who let it."""
    steps = lock_plan_steps(connection, [request.id])
    starts = start_steps(
        connection,
        settings,
        {request.id: (request.plan_version, steps[request.id])},
        at,
        opting_out=opting_out([request]),
    )
    data = audit_data_of(starts[request.id])
    changes = [approved, *([request_change(request, "plan_released", **data)] if data else [])]
    release(connection, changes, actor=actor, at=at)
    write_starts_of(connection, {request.id: request}, starts, actor=actor, at=at)


def opting_out(requests: Iterable[StoredRequest | PlannedRequest]) -> frozenset[UUID]:
    """Return the suppression requests among these."""
    return frozenset(request.id for request in requests if request.kind == RequestKind.SUPPRESSION)


def start_steps(
    connection: Connection,
    settings: Settings,
    plans: Mapping[UUID, tuple[int, Sequence[StoredStep]]],
    now: datetime,
    *,
    opting_out: Collection[UUID] = (),
) -> dict[UUID, list[Start]]:
    """Return how the steps of these requests start that have waited for their plan.

    `plans`: for each request its version and all of its steps. Steps of held requests park. A step that wasn't searched
    yet continues its search and starts by itself. `opting_out`: suppression requests, whose steps all start at once,
    because no system feeds an opt-out back into another one.
    """
    held = held_requests(connection, list(plans))
    patient_until = now + settings.seconds("order_timeout")
    rules = _rules_by_system(settings, {step.system for _, steps in plans.values() for step in steps})
    found: dict[UUID, list[Start]] = {}
    for request_id, (version, steps) in plans.items():
        opts_out = request_id in opting_out
        first = min((s.position for s in steps if s.state not in ENDED), default=0)
        found[request_id] = [
            Start(step, version, to)
            for step in steps
            for to in [
                _start(
                    step,
                    rules[step.system],
                    now,
                    wait_until=patient_until if step.position > first and not opts_out else None,
                    is_held=request_id in held,
                    opts_out=opts_out,
                )
            ]
            if to is not None
        ]
    return found


def _start(
    step: StoredStep,
    rules: SystemRules | None,
    now: datetime,
    *,
    wait_until: datetime | None,
    is_held: bool,
    opts_out: bool,
) -> Transition | None:
    event = PlanReleased(
        wait_until or now,
        waits_for_order=wait_until is not None,
        has_records=bool(step.record_hashes) or any((step.counts or {}).values()),
        is_held=is_held,
        opts_out=opts_out,
    )
    facts = StepFacts(
        phase=Phase(step.phase),
        consecutive_attempts=0,
        plan_rounds=0,
        effect_possible=False,
        frozen=True,
        state=StepState(step.state),
        located=step.located,
    )
    to = decide(facts, event, rules, now)
    assert not isinstance(to, Refusal), "only a person's decision is refused"
    return to


def audit_data_of(starts: Sequence[Start]) -> dict[str, list[str]]:
    """Return the data of the request's entry about the steps that start, if any starts.

    A step that parks has an entry of its own.
    """
    due = [each for each in starts if each.to.state is StepState.DUE]
    if not due:
        return {}
    return {"steps": [str(each.step.id) for each in due], "phases": [each.to.phase.value for each in due]}


def write_starts_of(
    connection: Connection,
    requests: Mapping[UUID, VersionedRequest],
    starts: Mapping[UUID, Sequence[Start]],
    *,
    actor: str,
    at: datetime,
) -> None:
    """Write how the steps start, in one statement, and log it with `audit_starts`."""
    write_starts(connection, [each for own in starts.values() for each in own])
    audit_starts(connection, requests, starts, actor=actor, at=at)


def audit_starts(
    connection: Connection,
    requests: Mapping[UUID, VersionedRequest],
    starts: Mapping[UUID, Sequence[Start]],
    *,
    actor: str,
    at: datetime,
) -> None:
    """Log the steps that park at their start, and add a check of each request without a due step."""
    parked = [
        Change(
            "step",
            str(each.step.id),
            version_of(each.step),
            "step_parked",
            requests[each.step.request_id].subject,
            {"phase": each.to.phase, "state": each.to.state, "reason": each.to.reason},
        )
        for own in starts.values()
        for each in own
        if each.to.state is StepState.PARKED
    ]
    log_changes(connection, parked, actor=actor, at=at)
    # A step that is due now asks for the next look itself, when it is answered.
    request_check(
        connection, [request_id for request_id, own in starts.items() if not any(_is_due(b, at) for b in own)]
    )


def _is_due(start: Start, now: datetime) -> bool:
    return start.to.due_at is not None and start.to.due_at <= now


def _rules_by_system(settings: Settings, systems: Iterable[str]) -> dict[str, SystemRules | None]:
    """None for a system that isn't configured any more."""
    found: dict[str, SystemRules | None] = {}
    for system in systems:
        try:
            found[system] = rules_of(settings, system)
        except KeyError:
            found[system] = None
    return found
