"""Apply one event to many locked steps: ask the rule, write the transitions, schedule checks.

Decides nothing; the caller holds the rows' locks. The audit event follows from the transition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, select

from connectors.base.transitions.states import ENDED, StepState, SystemRules, Transition
from service.domain.audit.schema import AuditValue
from service.domain.errors import Refusal
from service.domain.execution.decide import decide
from service.domain.execution.events import StepEvent
from service.requests.steps.rows import WholeStep
from service.requests.steps.store import Entry, StepTransition, apply_transitions, facts_of
from service.store.locking import request_check
from service.store.tables.requests import RequestRow

Step = TypeVar("Step", bound=WholeStep)


def apply_event(
    connection: Connection,
    steps: Sequence[Step],
    event: StepEvent | Callable[[Step], StepEvent],
    *,
    actor: str,
    at: datetime,
    rules: SystemRules | None = None,
    subjects: Mapping[UUID, str] | None = None,
    data: Mapping[str, AuditValue] | None = None,
    batches: Mapping[UUID, UUID] | None = None,
) -> list[UUID]:
    """Write what the event makes of each of these locked steps. Returns the ids of those that it changed.

    `subjects`: the requests' pseudonyms, if the caller has them. `data`: more for each audit entry. `batches`: new
    batches of steps. Raises the refusal of a person's decision, before anything is written.
    """
    if not steps:
        return []
    known = subjects_of(connection, steps) if subjects is None else subjects
    moved: list[StepTransition] = []
    for step in steps:
        to = decide(facts_of(step), event(step) if callable(event) else event, rules, at)
        if isinstance(to, Refusal):
            raise to
        if to is not None:
            batch_id = None if batches is None else batches.get(step.id)
            moved.append(StepTransition(step, known[step.request_id], entry_of(step, to, data or {}, batch_id)))
    apply_transitions(connection, moved, actor=actor, at=at)
    request_check(connection, [each.step.request_id for each in moved])
    return [each.step.id for each in moved]


def entry_of(step: WholeStep, to: Transition, more: Mapping[str, AuditValue], batch_id: UUID | None = None) -> Entry:
    """The audit entry of a transition that no connector's result caused."""
    data: dict[str, AuditValue] = {"phase": to.phase.value, "state": to.state.value}
    if to.reason is not None:
        data["reason"] = to.reason
    data |= more
    if to.state in ENDED:
        return Entry(to, "step_ended", data | {"outcome": to.state.value}, batch_id)
    goes_on = to.reason is None or "decision" in more
    if step.state == StepState.PARKED and goes_on:
        return Entry(to, "step_unparked", data, batch_id)
    if to.state in (StepState.PARKED, StepState.WAITING):
        return Entry(to, "step_parked", data, batch_id)
    return Entry(to, "step_lease_expired" if step.state == StepState.LEASED else "step_due", data, batch_id)


def subjects_of(connection: Connection, steps: Sequence[WholeStep]) -> dict[UUID, str]:
    """The pseudonyms of these steps' requests."""
    ids = {step.request_id for step in steps}
    rows = connection.execute(select(RequestRow.id, RequestRow.subject).where(RequestRow.id.in_(ids)))
    return {row.id: row.subject for row in rows}
