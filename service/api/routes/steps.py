"""`/v1/steps`: what waits for a human or for its time, over all requests, and letting it go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from connectors.base.transitions.states import ListedState
from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context, CurrentCaller
from service.api.schemas import Body, ResolveBody
from service.domain.access.api_key import Scope
from service.domain.execution.events import Decision, ResolutionReason
from service.execution.steps.list import StepFilters, StepLine, StepPage, list_steps, show_step
from service.execution.steps.resolve import decide_step
from service.execution.steps.retry import retry_step, retry_steps

router = APIRouter(route_class=GuardedRoute, tags=["steps"])
_BODY = (400, 404, 409, 413, 415, 422)
SystemName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
ParkedAs = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.:-]{1,80}$")]


class StepsQuery(BaseModel):
    """Filters of the list of steps."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    state: ListedState = ListedState.PARKED
    system: SystemName | None = None
    reason: ParkedAs | None = Field(None, description="a whole reason, or its word before the colon")
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,120}$")] | None = None


class RetryBody(Body):
    """Why the step may go on."""

    reason: ResolutionReason


class RetrySystemBody(Body):
    """Which steps of one system may go on, and why. `after` is `next_after` of the call before."""

    system: SystemName
    parked_as: ParkedAs = Field(description="a whole reason, or its word before the colon")
    reason: ResolutionReason
    after: UUID | None = None


@dataclass(frozen=True)
class RetriedView:
    """How many steps go on, and how many can't yet: held, or of a withdrawn request."""

    retried: int
    held: int
    withdrawn: int
    next_after: UUID | None


@router.get(
    "/v1/steps",
    operation_id="listSteps",
    summary="List unfinished steps, parked ones unless told otherwise",
    **needs(Scope.REQUESTS_READ, 422),
)
def list_page(query: Annotated[StepsQuery, Query()], context: Context) -> StepPage:
    """One page by system; a parked step comes with what its reason means and what to do next."""
    filters = StepFilters(query.state, query.system, query.reason)
    return list_steps(context.stores, filters, limit=query.limit, cursor=query.cursor)


@router.get(
    "/v1/steps/{step_id:uuid}", operation_id="showStep", summary="Show one step", **needs(Scope.REQUESTS_READ, 404)
)
def show(step_id: UUID, context: Context) -> StepLine:
    """As in the list. Its attempts stand with its request."""
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/{step_id:uuid}/retry",
    operation_id="retryStep",
    summary="Let a parked step go on",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def retry(step_id: UUID, body: RetryBody, caller: CurrentCaller, context: Context) -> StepLine:
    """The step does the same again, from where it parked."""
    retry_step(context.stores, step_id, reason=body.reason, actor=caller.actor)
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/{step_id:uuid}/resolve",
    operation_id="resolveStep",
    summary="Decide about a parked step",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def resolve(step_id: UUID, body: ResolveBody, caller: CurrentCaller, context: Context) -> StepLine:
    """Accept doubtful records as this person's, so that the search is repeated; or end the step with a reason.

    The decision stands under the key's name in the audit log and on the certificate.
    """
    decision = Decision(body.decision.value)
    decide_step(context.stores, step_id, decision=decision, reason=body.reason, actor=caller.actor)
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/retry",
    operation_id="retrySteps",
    summary="Let the parked steps of one system go on",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def retry_many(body: RetrySystemBody, caller: CurrentCaller, context: Context) -> RetriedView:
    """At most 500 a call, each with its audit entry; ask again with `after` until `next_after` is null."""
    done = retry_steps(
        context.stores,
        system=body.system,
        parked_as=body.parked_as,
        reason=body.reason,
        actor=caller.actor,
        after=body.after,
    )
    return RetriedView(done.retried, done.held, done.withdrawn, done.next_after)
