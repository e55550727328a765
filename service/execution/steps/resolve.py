"""A named human decides about a parked step: try again, or end it with a reason.

Decides which decisions a parked step allows. `absent` and `erased_*` aren't among them: only a look earns those.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select

from connectors.base.registry import connector_class
from service.domain.audit.schema import AuditValue
from service.domain.errors import NotFound
from service.domain.execution.events import Decision, DecisionMade, ResolutionReason
from service.domain.requests.states import WITHDRAWN_STATES
from service.execution.systems.store import connector_of, system_state
from service.requests.holds.active import held_requests
from service.requests.records.store import lock_request
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_steps
from service.store.locking import database_now
from service.store.stores import Stores
from service.store.tables.work import StepRow


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
        event = DecisionMade(
            decision,
            reason,
            is_held=bool(held_requests(connection, [request_id])),
            is_withdrawn=request.state in WITHDRAWN_STATES,
            system_is_removed=system_state(connection, system) != "active",
            searches_first=connector_class(connector_of(connection, system)).declaration.searches_first,
        )
        data: dict[str, AuditValue] = {"reason": reason.value}
        if decision in (Decision.RETRY, Decision.ACCEPT_RECORDS):
            data["decision"] = decision.value
        apply_event(
            connection,
            [step],
            event,
            actor=actor,
            at=database_now(connection),
            subjects={request_id: request.subject},
            data=data,
        )
