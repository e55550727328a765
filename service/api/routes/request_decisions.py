"""`/v1/requests/{id}/...`: decisions about a request; each answers with the changed request."""

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
    """Decide every open doubt, or link the request to an earlier one of the same person.

    The decisions name the version of the doubts that you examined; an older version is 409 `stale_doubts`. A missing,
    unknown or repeated decision is 422 `undecided_doubts` with each doubt and its allowed decisions. To keep two
    values, a supernode or a weak edge needs the approval of a second person.
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
    """Approve the newest plan by its hash.

    A key that submitted or reviewed the request gets 403 `same_person`.
    """
    approve_plan(context.stores, context.settings, request_id, plan_hash=body.plan_hash, caller=caller)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/deny",
    operation_id="denyRequest",
    summary="Deny a request",
    **needs(Scope.REQUESTS_REVIEW, *_BODY),
)
def deny(request_id: UUID, body: DenyBody, caller: CurrentCaller, context: Context) -> RequestView:
    """Deny a request: no further effect begins. Steps that may have had an effect are still verified."""
    deny_request(context.stores, request_id, reason=body.reason, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/revoke",
    operation_id="revokeRequest",
    summary="Revoke a request",
    **needs(Scope.REQUESTS_SUBMIT, 404, 409, or_scope=Scope.REQUESTS_REVIEW),
)
def revoke(request_id: UUID, caller: CurrentCaller, context: Context) -> RequestView | RevokedView:
    """End a request at the data subject's own wish, like `deny`. Takes no body.

    A key with `requests:submit` only can revoke its own requests; any other id is a 404, whether it exists or not.
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
    """Extend the deadline, once and only within the first period. Tell the data subject the reason."""
    extend_request(context.stores, context.settings, request_id, reason=body.reason, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/expedite",
    operation_id="expediteRequest",
    summary="Mark a request as urgent",
    **needs(Scope.REQUESTS_REVIEW, 404, 409),
)
def expedite(request_id: UUID, caller: CurrentCaller, context: Context) -> RequestView:
    """Run the steps of the request before all others, without waiting. The deadline stays. Takes no body."""
    expedite_request(context.stores, request_id, actor=caller.actor)
    return show_request(context.stores, request_id)


@router.post(
    "/v1/requests/{request_id:uuid}/reveal",
    operation_id="revealIdentifiers",
    summary="Show identifiers in clear",
    **needs(Scope.REQUESTS_REVEAL, 404, 410),
)
def reveal(request_id: UUID, caller: CurrentCaller, context: Context) -> RevealView:
    """Show the identifiers. The read is audited first. 410 after the request is sealed. Takes no body."""
    return RevealView.of(reveal_identifiers(context.stores, request_id, actor=caller.actor))
