"""Check, in the transaction of a lease, which of its steps may act.

Decides which steps are taken out, and the event of each: a held person's step parks; a withdrawn request's step ends,
or is looked at if an effect is possible; a step without an approved plan waits for the approval; and a look before the
end of the vendor's delay waits. A hold or withdrawal during the call is found by the renewal (heartbeat).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import Phase
from service.domain.execution.events import ApprovalMissing, HoldPlaced, RequestWithdrawn, StepEvent
from service.domain.requests.states import WITHDRAWN_STATES
from service.execution.store import DueStep, stopped_steps
from service.requests.holds.active import held_requests
from service.requests.steps.move import apply_event
from service.requests.steps.read import read_steps
from service.requests.steps.schedule import reschedule
from service.settings import Settings
from service.system_rules import rules_of


def permitted_steps(
    connection: Connection, settings: Settings, system: str, phase: Phase, steps: Sequence[DueStep], now: datetime
) -> list[DueStep]:
    """Those of the locked steps on which the pass may act; the others are moved to where they belong."""
    if phase is Phase.LOCATE:
        return list(steps)
    delay = rules_of(settings, system).confirm_after
    if phase is Phase.CONFIRM:
        early = {s.id: s.effect_at + delay for s in steps if s.effect_at is not None and s.effect_at + delay > now}
        reschedule(connection, early)
        return [s for s in steps if s.id not in early]
    held = held_requests(connection, [s.request_id for s in steps])
    withdrawn, unapproved = _stopped(connection, steps)
    stopped = [s for s in steps if s.request_id in withdrawn]
    held_back = [s for s in steps if s.request_id in held - withdrawn]
    others = [s for s in steps if s.request_id not in held | withdrawn]
    _move(connection, stopped, RequestWithdrawn(now + delay, at_lease=True), now)
    _move(connection, held_back, HoldPlaced(at_lease=True), now)
    _move(connection, [s for s in others if s.id in unapproved], ApprovalMissing(), now)
    return [s for s in others if s.id not in unapproved]


def _move(connection: Connection, steps: Sequence[DueStep], event: StepEvent, now: datetime) -> None:
    if steps:
        apply_event(connection, read_steps(connection, [step.id for step in steps]), event, actor="worker", at=now)


def _stopped(connection: Connection, steps: Sequence[DueStep]) -> tuple[set[UUID], set[UUID]]:
    """Requests of these steps that were withdrawn, and steps that no approval holds.

    A plan is approved by itself or by a later version, which holds all of it.
    """
    found = stopped_steps(connection, [step.id for step in steps], WITHDRAWN_STATES)
    return {row.request_id for row in found if row.withdrawn}, {row.id for row in found if row.unapproved}
