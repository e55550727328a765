"""Retry the parked steps of one system in one transaction, by a named human who fixed their cause.

Decides which of them may be retried: the same as for a single one (resolve_step). Each has its audit entry under the
key's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import LEGAL_HOLD, WITHDRAWN
from service.domain.errors import NotFound, WrongState
from service.domain.execution.events import Decision, DecisionMade, ResolutionReason
from service.domain.requests.states import WITHDRAWN_STATES
from service.execution.steps.resolve import decide_step
from service.execution.systems.store import system_state
from service.requests.holds.active import held_requests
from service.requests.records.rows import StoredRequest
from service.requests.records.store import lock_requests
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_parked, parked_steps
from service.requests.steps.rows import StoredStep
from service.store.locking import database_now
from service.store.stores import Stores


@dataclass(frozen=True)
class Retried:
    """How many go on, how many can't, and behind which step to go on asking; None when all were asked."""

    retried: int
    held: int
    withdrawn: int
    next_after: UUID | None


def retry_step(stores: Stores, step_id: UUID, *, reason: ResolutionReason, actor: str) -> None:
    """Let one parked step go on. Raises NotFound, WrongState, HeldPerson."""
    decide_step(stores, step_id, decision=Decision.RETRY, reason=reason, actor=actor)


def retry_steps(
    stores: Stores,
    *,
    system: str,
    parked_as: str,
    reason: ResolutionReason,
    actor: str,
    after: UUID | None = None,
    limit: int = 500,
) -> Retried:
    """Retry the next `limit` steps of a system that are parked with this reason.

    `parked_as`: a whole reason, or its part before the colon. Raises NotFound; WrongState if the system isn't
    connected.
    """
    with stores.engine.begin() as connection:
        _check_system(connection, system)
        found = parked_steps(connection, system, parked_as, after=after or UUID(int=0), limit=limit)
        requests = lock_requests(connection, {request_id for _, request_id in found})
        steps = lock_parked(connection, [step_id for step_id, _ in found])
        held = held_requests(connection, list(requests))
        stopped = {s.id for s in steps if s.reason == LEGAL_HOLD and s.request_id in held}
        withdrawn = {s.id for s in steps if _is_withdrawn(s, requests[s.request_id])} - stopped
        freed = [s for s in steps if s.id not in stopped | withdrawn]
        apply_event(
            connection,
            freed,
            DecisionMade(Decision.RETRY, reason),
            actor=actor,
            at=database_now(connection),
            subjects={request_id: row.subject for request_id, row in requests.items()},
            data={"decision": Decision.RETRY.value, "reason": reason.value},
        )
    last = found[-1][0] if len(found) == limit else None
    return Retried(len(freed), len(stopped), len(withdrawn), last)


def _check_system(connection: Connection, system: str) -> None:
    state = system_state(connection, system)
    if state is None:
        raise NotFound("there is no such system")
    if state != "active":
        raise WrongState("the system isn't connected any more: connect it again first")


def _is_withdrawn(step: StoredStep, request: StoredRequest) -> bool:
    return request.state in WITHDRAWN_STATES and not step.effect_possible and step.reason != WITHDRAWN
