"""Let frozen plans' steps begin: at once in the first position, the later ones after them or their patience.

Decides when each system's step begins. Runs inside a transaction of the caller that has locked the requests and their
steps; whoever freezes a plan that needs no approval writes both in one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.outcomes import ENDED, LEGAL_HOLD, SYSTEM_REMOVED, Phase, StepState, first_phase
from service.domain.request import Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, change_rows, log_changes
from service.storage.holds import held_requests
from service.storage.rows import check_again, lock_steps
from service.use_cases.lock_request import request_change, step_change
from service.use_cases.system_rules import rules_of

PLANNED_COLUMNS = (
    "id, request_id, system, position, phase, state, located, plan_version, record_hashes, counts, version, entry_hash"
)
"""What freezing and releasing read of a step."""

# A request that was answered already, since every step had been accepted, stays answered while more is done.
PROGRESS = f"CASE WHEN r.state = '{RequestState.IN_PROGRESS}' THEN '{Progress.ERASING}' END"


@dataclass(frozen=True)
class Begun:
    """How one step begins: due at an instant, or parked for a reason."""

    step: Row[Any]
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
    changes = [approved, *released(request, begun[request.id])]
    change_rows(connection, "request", f"reason = {PROGRESS}", {}, changes, actor=actor, at=at)
    write_begun(connection, {request.id: request}, begun, actor=actor, at=at)


def begin_steps(
    connection: Connection, settings: Settings, plans: Mapping[UUID, tuple[int, Sequence[Row[Any]]]], now: datetime
) -> dict[UUID, list[Begun]]:
    """How those of these requests' steps begin that have waited for their plan (its version, all of its steps).

    Held requests' steps park. A step that hasn't been searched yet goes on searching and follows by itself.
    """
    held = held_requests(connection, list(plans))
    found: dict[UUID, list[Begun]] = {}
    for request_id, (version, steps) in plans.items():
        first = min((s.position for s in steps if s.state not in ENDED), default=0)
        found[request_id] = [
            _begin(settings, step, version, first, now, held=request_id in held)
            for step in steps
            if step.state == StepState.WAITING and step.located
        ]
    return found


def released(request: Row[Any], begun: Sequence[Begun]) -> list[Change]:
    """The request's entry about the steps that begin, if any does; one that parks has an entry of its own."""
    due = [each for each in begun if each.state is StepState.DUE]
    if not due:
        return []
    steps, phases = [str(each.step.id) for each in due], [each.phase.value for each in due]
    return [request_change(request, "plan_released", steps=steps, phases=phases)]


def write_begun(
    connection: Connection,
    requests: Mapping[UUID, Row[Any]],
    begun: Mapping[UUID, Sequence[Begun]],
    *,
    actor: str,
    at: datetime,
) -> None:
    """Write how they begin, in one statement; where none is due now, somebody looks again."""
    every = [each for own in begun.values() for each in own]
    _write(connection, every)
    parked = [
        step_change(
            each.step,
            requests[each.step.request_id].subject,
            "step_parked",
            phase=each.phase,
            state=each.state,
            reason=each.reason,
        )
        for each in every
        if each.state is StepState.PARKED
    ]
    log_changes(connection, parked, actor=actor, at=at)
    # A step that is due now asks for the next look itself, when it is answered.
    check_again(connection, [request_id for request_id, own in begun.items() if not any(_is_due(b, at) for b in own)])


def _is_due(begun: Begun, now: datetime) -> bool:
    return begun.due_at is not None and begun.due_at <= now


def _write(connection: Connection, begun: Iterable[Begun]) -> None:
    rows = list(begun)
    if not rows:
        return
    connection.execute(
        text(
            "UPDATE steps s SET phase = n.phase, state = n.state, reason = n.reason, due_at = n.due_at,"
            " waits_for_order = n.waits, plan_version = coalesce(s.plan_version, n.plan_version)"
            " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[]), CAST(:phases AS text[]),"
            " CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),"
            " CAST(:waits AS boolean[])) AS n(id, plan_version, phase, state, reason, due_at, waits)"
            " WHERE s.id = n.id"
        ),
        {
            "ids": [b.step.id for b in rows],
            "versions": [b.plan_version for b in rows],
            "phases": [b.phase for b in rows],
            "states": [b.state for b in rows],
            "reasons": [b.reason for b in rows],
            "dues": [b.due_at for b in rows],
            "waits": [b.waits_for_order for b in rows],
        },
    )


def _begin(settings: Settings, step: Row[Any], version: int, first: int, now: datetime, *, held: bool) -> Begun:
    try:
        rules = rules_of(settings, step.system)
    except KeyError:
        return Begun(step, version, Phase(step.phase), StepState.PARKED, SYSTEM_REMOVED)
    found = bool(step.record_hashes) or any(step.counts.values())
    phase = first_phase(rules, found=found)
    if held and phase is not Phase.CONFIRM:
        return Begun(step, version, phase, StepState.PARKED, LEGAL_HOLD)
    waits = step.position > first
    due_at = now + (settings.seconds("order_patience") if waits else timedelta(0))
    return Begun(step, version, phase, StepState.DUE, None, due_at, waits)
