"""Let frozen plans' steps begin: at once in the first position, the later ones after them or their patience.

Decides when each system's step begins. Runs inside a transaction of the caller that has locked the requests and their
steps; whoever freezes a plan that needs no approval writes both in one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.execution.results import first_phase
from service.domain.execution.states import ENDED, LEGAL_HOLD, SYSTEM_REMOVED, Phase, StepState, SystemRules
from service.domain.requests.states import Progress, RequestState
from service.requests.holds.active import held_requests
from service.requests.locking import request_change, step_change
from service.requests.planning.create_steps import OpenedStep
from service.settings import Settings
from service.store.arrays import Packed, counted, listed, packed, timed
from service.store.audit_log.record_change import Change, change_rows, log_changes
from service.store.locking import check_again, lock_steps
from service.system_rules import rules_of

PLANNED_COLUMNS = (
    "id, request_id, system, position, phase, state, located, plan_version, record_hashes,"
    # Often empty, and nothing is quicker to read than nothing.
    " nullif(counts, '{}') AS counts, version, entry_hash"
)
"""What freezing and releasing read of a step."""
PlannedStep = Row[Any] | OpenedStep
"""A step of a plan: the row that was locked, or one that is written with the plan."""

# A request that was answered already, since every step had been accepted, stays answered while more is done.
PROGRESS = f"CASE WHEN r.state = '{RequestState.IN_PROGRESS}' THEN '{Progress.ERASING}' END"


class Begun(NamedTuple):
    """How one step begins: due at an instant, or parked for a reason."""

    step: PlannedStep
    plan_version: int
    phase: Phase
    state: StepState
    reason: str | None = None
    due_at: datetime | None = None
    waits_for_order: bool = False


def release_plan(
    connection: Connection, settings: Settings, request: Row[Any], approved: Change, *, actor: str, at: datetime
) -> None:
    """Release one locked request's newest plan, together with the entry that says who let it."""
    steps = lock_steps(connection, [request.id], PLANNED_COLUMNS)
    begun = begin_steps(connection, settings, {request.id: (request.plan_version, steps[request.id])}, at)
    told = told_of(begun[request.id])
    changes = [approved, *([request_change(request, "plan_released", **told)] if told else [])]
    change_rows(connection, "request", f"reason = {PROGRESS}", {}, changes, actor=actor, at=at)
    write_begun(connection, {request.id: request}, begun, actor=actor, at=at)


def begin_steps(
    connection: Connection, settings: Settings, plans: Mapping[UUID, tuple[int, Sequence[PlannedStep]]], now: datetime
) -> dict[UUID, list[Begun]]:
    """How those of these requests' steps begin that have waited for their plan (its version, all of its steps).

    Held requests' steps park. A step that hasn't been searched yet goes on searching and follows by itself.
    """
    held = held_requests(connection, list(plans))
    patient_until = now + settings.seconds("order_patience")
    rules = _rules_by_system(settings, {step.system for _, steps in plans.values() for step in steps})
    found: dict[UUID, list[Begun]] = {}
    for request_id, (version, steps) in plans.items():
        first = min((s.position for s in steps if s.state not in ENDED), default=0)
        found[request_id] = [
            _begin(
                rules[step.system],
                step,
                version,
                now if step.position == first else patient_until,
                waits=step.position > first,
                held=request_id in held,
            )
            for step in steps
            if step.state == StepState.WAITING and step.located
        ]
    return found


def told_of(begun: Sequence[Begun]) -> dict[str, list[str]]:
    """What the request's entry says of the steps that begin, if any does; one that parks has an entry of its own."""
    due = [each for each in begun if each.state is StepState.DUE]
    if not due:
        return {}
    return {"steps": [str(each.step.id) for each in due], "phases": [each.phase.value for each in due]}


def write_begun(
    connection: Connection,
    requests: Mapping[UUID, Row[Any]],
    begun: Mapping[UUID, Sequence[Begun]],
    *,
    actor: str,
    at: datetime,
) -> None:
    """Write how they begin, in one statement; where none is due now, somebody looks again."""
    _write(connection, [each for own in begun.values() for each in own])
    tell_begun(connection, requests, begun, actor=actor, at=at)


def tell_begun(
    connection: Connection,
    requests: Mapping[UUID, Row[Any]],
    begun: Mapping[UUID, Sequence[Begun]],
    *,
    actor: str,
    at: datetime,
) -> None:
    """What is to be said of steps that are written where they begin."""
    parked = [
        step_change(
            each.step,
            requests[each.step.request_id].subject,
            "step_parked",
            phase=each.phase,
            state=each.state,
            reason=each.reason,
        )
        for own in begun.values()
        for each in own
        if each.state is StepState.PARKED
    ]
    log_changes(connection, parked, actor=actor, at=at)
    # A step that is due now asks for the next look itself, when it is answered.
    check_again(connection, [request_id for request_id, own in begun.items() if not any(_is_due(b, at) for b in own)])


def _is_due(begun: Begun, now: datetime) -> bool:
    return begun.due_at is not None and begun.due_at <= now


_WRITE = text(
    "UPDATE steps s SET phase = n.phase, state = n.state, reason = n.reason, due_at = n.due_at,"
    " waits_for_order = n.waits, plan_version = coalesce(s.plan_version, n.plan_version)"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[]), CAST(:phases AS text[]),"
    " CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),"
    " CAST(:waits AS boolean[])) AS n(id, plan_version, phase, state, reason, due_at, waits)"
    " WHERE s.id = n.id"
)


def _write(connection: Connection, begun: Sequence[Begun]) -> None:
    if not begun:
        return
    connection.execute(
        _WRITE,
        {
            "ids": listed(b.step.id for b in begun),
            "versions": counted(b.plan_version for b in begun),
            "phases": Packed(b.phase for b in begun),
            "states": Packed(b.state for b in begun),
            "reasons": packed([b.reason for b in begun]),
            "dues": timed(b.due_at for b in begun),
            "waits": counted(b.waits_for_order for b in begun),
        },
    )


def _rules_by_system(settings: Settings, systems: Iterable[str]) -> dict[str, SystemRules | None]:
    """None for a system that isn't configured any more."""
    found: dict[str, SystemRules | None] = {}
    for system in systems:
        try:
            found[system] = rules_of(settings, system)
        except KeyError:
            found[system] = None
    return found


def _begin(
    rules: SystemRules | None, step: PlannedStep, version: int, due_at: datetime, *, waits: bool, held: bool
) -> Begun:
    if rules is None:
        return Begun(step, version, Phase(step.phase), StepState.PARKED, SYSTEM_REMOVED)
    found = bool(step.record_hashes) or any((step.counts or {}).values())
    phase = first_phase(rules, found=found)
    if held and phase is not Phase.CONFIRM:
        return Begun(step, version, phase, StepState.PARKED, LEGAL_HOLD)
    return Begun(step, version, phase, StepState.DUE, None, due_at, waits)
