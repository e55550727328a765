"""`/v1/requests/{id}/...`: what humans decide about a request. Each answers with the request as it then stands."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context, CurrentCaller
from service.api.schemas import ApproveBody, DenyBody, ExtendBody, ReviewBody, review_of
from service.api.views import RevealView, RevokedView
from service.domain.access.api_key import Scope
from service.requests.deadlines import expedite_request, extend_request
from service.requests.identity.review import continue_request, link_request
from service.requests.planning.approve import approve_plan
from service.requests.reveal import reveal_identifiers
from service.requests.show import RequestView, show_request
from service.requests.withdraw import deny_request, revoke_request

router = APIRouter(route_class=GuardedRoute, tags=["decisions"])
_BODY = (400, 404, 409, 413, 415, 422)


@router.post(
    "/v1/requests/{request_id:uuid}/review",
    operation_id="reviewRequest",
    summary="Decide a review",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def review(request_id: UUID, body: ReviewBody, caller: CurrentCaller, context: Context) -> RequestView:
    """Decide every open doubt, of the version that you looked at, or link to the request that this one repeats.

    A missing, unknown or doubled decision is 422 `undecided_doubts` with each doubt and what it allows; decisions about
    older doubts are 409 `stale_doubts`. Going on with two values, a supernode or a weak edge takes a second person.
    """
    if body.request_id is not None:
        link_request(context.stores, request_id, to=body.request_id, actor=caller.actor)
    else:
        continue_request(context.stores, request_id, review_of(body), caller=caller)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/approve",
    operation_id="approvePlan",
    summary="Approve a plan as the second person",
    **needs(Scope.REQUESTS_APPROVE, *_BODY),
)
def approve(request_id: UUID, body: ApproveBody, caller: CurrentCaller, context: Context) -> RequestView:
    """Only the newest plan, by its hash, and never with a key that submitted or reviewed it (403 `same_person`)."""
    approve_plan(context.stores, context.settings, request_id, plan_hash=body.plan_hash, caller=caller)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/deny",
    operation_id="denyRequest",
    summary="Deny a request",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def deny(request_id: UUID, body: DenyBody, caller: CurrentCaller, context: Context) -> RequestView:
    """Nothing more begins; what may have been erased already is still looked at."""
    deny_request(context.stores, request_id, reason=body.reason, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/revoke",
    operation_id="revokeRequest",
    summary="Take a request back",
    **needs(Scope.REQUESTS_SUBMIT, 404, 409, or_scope=Scope.REQUESTS_REVIEW),
)
def revoke(request_id: UUID, caller: CurrentCaller, context: Context) -> RequestView | RevokedView:
    """As `deny`, at the data subject's own wish. Takes no body.

    With `requests:submit` only those that the same key submitted: any other id is a 404, whether it exists or not.
    """
    revoke_request(context.stores, request_id, actor=caller.actor, submitted_by=caller.ends_only_of)
    if caller.may(Scope.REQUESTS_READ) or caller.may(Scope.REQUESTS_REVIEW):
        return show_request(context.stores, request_id)
    return RevokedView(request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/extend",
    operation_id="extendRequest",
    summary="Take the extension that the law allows",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def extend(request_id: UUID, body: ExtendBody, caller: CurrentCaller, context: Context) -> RequestView:
    """Once, and only within the first period. Telling the data subject why is yours to do."""
    extend_request(context.stores, context.settings, request_id, reason=body.reason, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/expedite",
    operation_id="expediteRequest",
    summary="Mark a request as urgent",
    **needs(Scope.REQUESTS_REVIEW, 404, 409),
)
def expedite(request_id: UUID, caller: CurrentCaller, context: Context) -> RequestView:
    """Its steps go before all others and wait for nobody. The law's clock stays as it is. Takes no body."""
    expedite_request(context.stores, request_id, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/reveal",
    operation_id="revealIdentifiers",
    summary="Show identifiers in clear",
    **needs(Scope.REQUESTS_REVEAL, 404, 410),
)
def reveal(request_id: UUID, caller: CurrentCaller, context: Context) -> RevealView:
    """Audited before it is answered. 410 once the request is sealed. Takes no body."""
    return RevealView.of(reveal_identifiers(context.stores, request_id, actor=caller.actor))
