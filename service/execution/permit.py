"""Ask, in the transaction of a lease, on whom the leased pass may act: the last look before anything is called.

Decides who is taken out and what becomes of them: a held person's step parks; a withdrawn request's step ends, or is
looked at if something may have happened; one whose plan nobody approved waits for its approval; and a look that comes
before the vendor's delay is over waits. What comes later, during the pass, is the renewal's to tell (hold_lease).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.execution.states import LEGAL_HOLD, WITHDRAWN, Phase, StepState
from service.domain.requests.states import WITHDRAWN_STATES, Progress
from service.execution.steps.park import move_steps, park_steps, subjects_of
from service.requests.holds.active import held_requests
from service.settings import Settings
from service.store.arrays import listed
from service.store.audit_log.record_change import Change, log_changes
from service.store.execute import run
from service.store.locking import check_again, version_of
from service.system_rules import rules_of


def only_permitted(
    connection: Connection, settings: Settings, system: str, phase: Phase, steps: Sequence[Row[Any]], now: datetime
) -> list[Row[Any]]:
    """Those of the locked steps on which the pass may act; the others are moved to where they belong."""
    if phase is Phase.LOCATE:
        return list(steps)
    delay = rules_of(settings, system).confirm_after
    if phase is Phase.CONFIRM:
        early = {s.id: s.effect_at + delay for s in steps if s.effect_at is not None and s.effect_at + delay > now}
        _look_later(connection, early)
        return [s for s in steps if s.id not in early]
    held = held_requests(connection, [s.request_id for s in steps])
    withdrawn, unapproved = _stopped(connection, steps)
    others = [s for s in steps if s.request_id not in held | withdrawn]
    _stop(connection, [s for s in steps if s.request_id in withdrawn], now + delay, now)
    held_back = [s for s in steps if s.request_id in held - withdrawn]
    park_steps(connection, held_back, LEGAL_HOLD, actor="worker", at=now)
    _wait_for_approval(connection, [s for s in others if s.id in unapproved], now)
    return [s for s in others if s.id not in unapproved]


def _look_later(connection: Connection, due: dict[UUID, datetime]) -> None:
    if due:
        connection.execute(
            text(
                "UPDATE steps s SET due_at = n.due FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[]))"
                " AS n(id, due) WHERE s.id = n.id"
            ),
            {"ids": list(due), "dues": list(due.values())},
        )


def _stopped(connection: Connection, steps: Sequence[Row[Any]]) -> tuple[set[UUID], set[UUID]]:
    """Requests of these steps that were withdrawn, and steps that no approval holds.

    A plan is approved by itself or by a later version, which holds all of it.
    """
    rows = run(connection, _STOPPED, {"ids": listed(s.id for s in steps), "states": sorted(WITHDRAWN_STATES)}).all()
    return {row.request_id for row in rows if row.withdrawn}, {row.id for row in rows if row.unapproved}


_STOPPED = (
    "SELECT * FROM (SELECT s.id, s.request_id, r.state = ANY(CAST(:states AS text[])) AS withdrawn, NOT EXISTS ("
    " SELECT 1 FROM plans p WHERE p.request_id = s.request_id AND p.version >= s.plan_version"
    " AND (p.approval_reasons = '{}' OR p.approved_at IS NOT NULL)) AS unapproved"
    " FROM steps s JOIN requests r ON r.id = s.request_id WHERE s.id = ANY(CAST(:ids AS uuid[]))) AS asked"
    " WHERE withdrawn OR unapproved"
)


def _stop(connection: Connection, steps: Sequence[Row[Any]], look_at: datetime, now: datetime) -> None:
    if not steps:
        return
    subjects = subjects_of(connection, steps)
    changes, updates = [], []
    for step in steps:
        update = {"id": step.id, "phase": step.phase, "state": StepState.RETAINED, "reason": WITHDRAWN, "due_at": None}
        if step.effect_possible:
            update |= {"phase": Phase.CONFIRM, "state": StepState.DUE, "due_at": look_at}
        updates.append(update)
        event = "step_due" if step.effect_possible else "step_ended"
        data = {name: update[name] for name in ("phase", "state", "reason")}
        data |= {} if step.effect_possible else {"outcome": StepState.RETAINED}
        changes.append(Change("step", str(step.id), version_of(step), event, subjects[step.request_id], data))
    move_steps(connection, updates)
    connection.execute(
        text(
            "UPDATE steps SET batch_id = NULL, tries = 0, ended_at = CASE WHEN state = 'retained'"
            " THEN CAST(:now AS timestamptz) END WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"now": now, "ids": [s.id for s in steps]},
    )
    log_changes(connection, changes, actor="worker", at=now)
    check_again(connection, [s.request_id for s in steps])


def _wait_for_approval(connection: Connection, steps: Sequence[Row[Any]], now: datetime) -> None:
    if not steps:
        return
    subjects = subjects_of(connection, steps)
    place = {"phase": Phase.LOCATE, "state": StepState.WAITING, "reason": Progress.AWAITING_APPROVAL}
    move_steps(connection, [{"id": s.id, "due_at": None, **place} for s in steps])
    connection.execute(
        text("UPDATE steps SET batch_id = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": [s.id for s in steps]}
    )
    changes = [
        Change("step", str(s.id), version_of(s), "step_parked", subjects[s.request_id], dict(place)) for s in steps
    ]
    log_changes(connection, changes, actor="worker", at=now)
