"""`/v1/steps`: the unfinished steps of all requests; retry or resolve them."""

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
    reason: ParkedAs | None = Field(None, description="a reason, or the part of a reason before the colon")
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,120}$")] | None = None


class RetryBody(Body):
    """The reason of the retry."""

    reason: ResolutionReason


class RetrySystemBody(Body):
    """The steps of one system to retry, and the reason.

    `after` is the `next_after` of the previous answer.
    """

    system: SystemName
    parked_as: ParkedAs = Field(description="a reason, or the part of a reason before the colon")
    reason: ResolutionReason
    after: UUID | None = None


@dataclass(frozen=True)
class RetriedView:
    """The number of retried steps, of steps under a hold, and of steps of withdrawn requests."""

    retried: int
    held: int
    withdrawn: int
    next_after: UUID | None


@router.get(
    "/v1/steps",
    operation_id="listSteps",
    summary="List unfinished steps, by default the parked ones",
    **needs(Scope.REQUESTS_READ, 422),
)
def list_page(query: Annotated[StepsQuery, Query()], context: Context) -> StepPage:
    """Return one page, by system. A parked step has the meaning of its reason and the next action."""
    filters = StepFilters(query.state, query.system, query.reason)
    return list_steps(context.stores, filters, limit=query.limit, cursor=query.cursor)


@router.get(
    "/v1/steps/{step_id:uuid}", operation_id="showStep", summary="Show one step", **needs(Scope.REQUESTS_READ, 404)
)
def show(step_id: UUID, context: Context) -> StepLine:
    """Show one step as the list does. Its attempts are shown with its request."""
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/{step_id:uuid}/retry",
    operation_id="retryStep",
    summary="Retry a parked step",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def retry(step_id: UUID, body: RetryBody, caller: CurrentCaller, context: Context) -> StepLine:
    """Repeat the operation at which the step was parked."""
    retry_step(context.stores, step_id, reason=body.reason, actor=caller.actor)
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/{step_id:uuid}/resolve",
    operation_id="resolveStep",
    summary="Decide about a parked step",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def resolve(step_id: UUID, body: ResolveBody, caller: CurrentCaller, context: Context) -> StepLine:
    """Accept doubtful records as this person's and repeat the search, or end the step with a reason.

    The audit log and the certificate show the decision with the name of the key.
    """
    decision = Decision(body.decision.value)
    decide_step(context.stores, step_id, decision=decision, reason=body.reason, actor=caller.actor)
    return show_step(context.stores, step_id)


@router.post(
    "/v1/steps/retry",
    operation_id="retrySteps",
    summary="Retry the parked steps of one system",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def retry_many(body: RetrySystemBody, caller: CurrentCaller, context: Context) -> RetriedView:
    """Retry at most 500 steps per call, each with its audit entry.

    Repeat the call with `after` until `next_after` is null.
    """
    done = retry_steps(
        context.stores,
        system=body.system,
        parked_as=body.parked_as,
        reason=body.reason,
        actor=caller.actor,
        after=body.after,
    )
    return RetriedView(done.retried, done.held, done.withdrawn, done.next_after)
