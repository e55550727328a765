"""Let frozen plans' steps begin: at once in the first position, the later ones after them or their patience.

Decides when each system's step begins. Runs inside a transaction of the caller that has locked the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from service.domain.outcomes import ENDED, LEGAL_HOLD, SYSTEM_REMOVED, Phase, StepState, first_phase
from service.domain.request import Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, log_changes
from service.storage.holds import held_requests
from service.storage.rows import check_again, lock_steps, version_of
from service.use_cases.move_steps import move_steps
from service.use_cases.system_rules import rules_of


def release_plans(connection: Connection, settings: Settings, requests: Sequence[Row[Any]], now: datetime) -> None:
    """Held requests' steps park. A step that hasn't been searched yet goes on searching and follows by itself."""
    ids = [request.id for request in requests]
    steps = lock_steps(connection, ids)
    held = held_requests(connection, ids)
    changes: list[Change] = []
    updates: list[dict[str, Any]] = []
    look_again = []
    for request in requests:
        begun = _begun(settings, steps[request.id], now, held=request.id in held)
        for step, update in begun:
            updates.append(update)
            data = {"phase": update["phase"], "state": update["state"], "reason": update["reason"]}
            changes.append(Change("step", str(step.id), version_of(step), "step_released", request.subject, data))
        # A step that is due now asks for the next look itself, when it is answered.
        if not any(update["state"] == StepState.DUE and update["due_at"] <= now for _, update in begun):
            look_again.append(request.id)
    move_steps(connection, updates)
    log_changes(connection, changes, actor="worker", at=now)
    connection.execute(
        text(
            "UPDATE requests r SET reason = n.reason FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[]))"
            " AS n(id, reason) WHERE r.id = n.id AND r.reason IS DISTINCT FROM n.reason"
        ),
        {"ids": ids, "reasons": [progress_of(request) for request in requests]},
    )
    check_again(connection, look_again)


def progress_of(request: Row[Any]) -> Progress | None:
    """A request that was answered already, since every step had been accepted, stays answered while more is done."""
    return Progress.ERASING if request.state == RequestState.IN_PROGRESS else None


def _begun(
    settings: Settings, steps: Sequence[Row[Any]], now: datetime, *, held: bool
) -> list[tuple[Row[Any], dict[str, Any]]]:
    """Those of a request's steps that begin, and how."""
    first = min((s.position for s in steps if s.state not in ENDED), default=0)
    begun = []
    for step in steps:
        if step.state == StepState.WAITING and step.located:
            begun.append((step, _begin(settings, step, first, now, held=held)))
    return begun


def _begin(settings: Settings, step: Row[Any], first: int, now: datetime, *, held: bool) -> dict[str, Any]:
    update: dict[str, Any] = {"id": step.id, "phase": step.phase, "state": StepState.PARKED, "due_at": None}
    try:
        rules = rules_of(settings, step.system)
    except KeyError:
        return update | {"reason": SYSTEM_REMOVED}
    found = bool(step.record_hashes) or any(step.counts.values())
    phase = first_phase(rules, found=found)
    if held and phase is not Phase.CONFIRM:
        return update | {"phase": phase, "reason": LEGAL_HOLD}
    waits = step.position > first
    patience = settings.seconds("order_patience") if waits else timedelta(0)
    due = {"state": StepState.DUE, "reason": None, "due_at": now + patience, "waits_for_order": waits}
    return update | {"phase": phase} | due
