"""A named human decides about a parked step: try again, or end it with a reason.

Decides which decisions a parked step allows. `absent` and `erased_*` aren't among them: only a look earns those.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text

from connectors.base.registry import connector_class
from service.domain.errors import HeldPerson, NotFound, WrongState
from service.domain.execution.states import LEGAL_HOLD, WITHDRAWN, Phase, StepState
from service.domain.requests.states import WITHDRAWN_STATES
from service.requests.holds.active import held_requests
from service.requests.locking import step_change
from service.store.audit_log.record_change import log_changes
from service.store.locking import check_again, database_now, lock_request, lock_steps
from service.store.stores import Stores
from service.store.tables.work import StepRow

RECORDS_ACCEPTED = "records_accepted"


class Decision(StrEnum):
    """What a human decides."""

    RETRY = "retry"
    ACCEPT_RECORDS = "accept_records"
    RETAINED = "retained"
    NOT_ADDRESSABLE = "not_addressable"
    UNRESOLVED = "unresolved"


class Resolution(StrEnum):
    """The decisions that `resolve` takes. `retry` is an operation of its own, for one step or many."""

    ACCEPT_RECORDS = Decision.ACCEPT_RECORDS.value
    RETAINED = Decision.RETAINED.value
    NOT_ADDRESSABLE = Decision.NOT_ADDRESSABLE.value
    UNRESOLVED = Decision.UNRESOLVED.value


class ResolutionReason(StrEnum):
    """Why; the middle five are the grounds of Regulation (EU) 2016/679 Art. 17(3)(a)-(e)."""

    CAUSE_FIXED = "cause_fixed"
    CHECKED_BY_HAND = "checked_by_hand"
    LEGAL_HOLD = "legal_hold"
    FREEDOM_OF_EXPRESSION = "freedom_of_expression"
    LEGAL_OBLIGATION = "legal_obligation"
    PUBLIC_HEALTH = "public_health"
    ARCHIVING_OR_RESEARCH = "archiving_or_research"
    LEGAL_CLAIMS = "legal_claims"
    VENDOR_REFUSES = "vendor_refuses"
    SYSTEM_GONE = "system_gone"
    NO_USABLE_IDENTIFIER = "no_usable_identifier"
    OTHER = "other"


@dataclass(frozen=True)
class _Move:
    state: StepState
    phase: str
    reason: str | None
    due_at: datetime | None
    ended_at: datetime | None


def decide_step(stores: Stores, step_id: UUID, *, decision: Decision, reason: ResolutionReason, actor: str) -> None:
    """Carry out the decision about the step with this id. Raises NotFound, WrongState, HeldPerson."""
    with stores.engine.begin() as connection:
        row = connection.execute(select(StepRow.request_id, StepRow.system).where(StepRow.id == step_id)).one_or_none()
    if row is None:
        raise NotFound("there is no such step")
    resolve_step(stores, row.request_id, row.system, decision=decision, reason=reason, actor=actor)


def resolve_step(
    stores: Stores, request_id: UUID, system: str, *, decision: Decision, reason: ResolutionReason, actor: str
) -> None:
    """Carry the decision out. Raises NotFound, WrongState, HeldPerson."""
    with stores.engine.begin() as connection:
        request = lock_request(connection, request_id)
        steps = lock_steps(connection, [request_id])[request_id]
        step = next((s for s in steps if s.system == system), None)
        if step is None:
            raise NotFound("the request has no step in such a system")
        if step.state != StepState.PARKED:
            raise WrongState("the step isn't parked")
        _check_allowed(connection, request, step, decision)
        now = database_now(connection)
        move = _move(step, decision, reason, now)
        _write(connection, step, move)
        data = {"phase": move.phase, "state": move.state.value, "reason": reason.value}
        if move.ended_at is None:
            change = step_change(step, request.subject, "step_unparked", decision=decision.value, **data)
        else:
            change = step_change(step, request.subject, "step_ended", outcome=move.state.value, **data)
        log_changes(connection, [change], actor=actor, at=now)
        check_again(connection, [request_id])


def _check_allowed(connection: Connection, request: Row[Any], step: Row[Any], decision: Decision) -> None:
    if decision is Decision.NOT_ADDRESSABLE and step.effect_possible:
        raise WrongState("something may have been erased there: this can't be called not addressable")
    if decision is Decision.ACCEPT_RECORDS and not (step.reason or "").startswith("ambiguous"):
        raise WrongState("no doubtful records were found there")
    if decision is Decision.ACCEPT_RECORDS and not _is_searched(connection, step.system):
        raise WrongState("nobody searches there: what the vendor found in doubt is for the vendor's console")
    if decision not in (Decision.RETRY, Decision.ACCEPT_RECORDS):
        return
    if step.reason == LEGAL_HOLD and request.id in held_requests(connection, [request.id]):
        raise HeldPerson("a legal hold is in force: lift it first")
    active = connection.execute(text("SELECT state = 'active' FROM systems WHERE name = :s"), {"s": step.system})
    if not active.scalar_one():
        raise WrongState("the system isn't connected any more: connect it again first")
    if request.state in WITHDRAWN_STATES and not step.effect_possible and step.reason != WITHDRAWN:
        raise WrongState("the request was withdrawn: nothing more begins")


def _is_searched(connection: Connection, system: str) -> bool:
    connector: str = connection.execute(
        text("SELECT connector FROM systems WHERE name = :s"), {"s": system}
    ).scalar_one()
    return connector_class(connector).declaration.searches_first


def _move(step: Row[Any], decision: Decision, reason: ResolutionReason, now: datetime) -> _Move:
    if decision is Decision.RETRY:
        return _Move(StepState.DUE, step.phase, None, now, None)
    if decision is Decision.ACCEPT_RECORDS:
        # The search is repeated, and this time what it finds may be planned: doubt arises from a search only.
        return _Move(StepState.DUE, Phase.LOCATE, RECORDS_ACCEPTED, now, None)
    return _Move(StepState(decision.value), step.phase, reason.value, None, now)


def _write(connection: Connection, step: Row[Any], move: _Move) -> None:
    # Rounds begin anew as well: else a step that was parked after the last round would park again unheard.
    connection.execute(
        text(
            "UPDATE steps SET state = :state, phase = :phase, reason = :reason, due_at = :due_at, ended_at = :ended_at,"
            " tries = 0, rounds = 0, records_accepted = records_accepted OR :accepts,"
            " batch_id = (SELECT b.id FROM batches b WHERE b.id = steps.batch_id AND b.ended_at IS NULL"
            " AND b.phase = :phase AND :goes_on)"
            " WHERE id = :id"
        ),
        {
            "state": move.state,
            "phase": move.phase,
            "reason": move.reason,
            "due_at": move.due_at,
            "ended_at": move.ended_at,
            "goes_on": move.ended_at is None,
            "accepts": move.reason == RECORDS_ACCEPTED,
            "id": step.id,
        },
    )
