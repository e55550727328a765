"""`/v1/requests`: submit, list, show, look up."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse

from connectors.base.values import Identifier
from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context, CurrentCaller
from service.api.schemas import ListQuery, LookupBody, ShowQuery, SubmitBody, submission_of
from service.api.views import ReceiptView
from service.domain.access.api_key import Scope
from service.requests.list import Page, list_requests
from service.requests.lookup_subject import SubjectView, lookup_subject
from service.requests.show import RequestView, show_request
from service.requests.store import Filters

router = APIRouter(route_class=GuardedRoute, tags=["requests"])


@router.post(
    "/v1/requests",
    status_code=202,
    operation_id="submitRequest",
    summary="Submit a data-subject request",
    response_model=ReceiptView,
    **needs(Scope.REQUESTS_SUBMIT, 400, 409, 413, 415, 422),
)
async def submit(
    body: SubmitBody,
    caller: CurrentCaller,
    context: Context,
    idempotency_key: Annotated[
        str | None,
        Header(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="the same key and body give the same answer"),
    ] = None,
) -> Response:
    """Accept a request durably, or refuse it without any effect. `Location` is the address of the request.

    Only keys with `requests:read` see `duplicate_of`, because it says that another request about this person is open.
    """
    submission = submission_of(body, caller.key_id, idempotency_key)
    receipt = await context.submissions.ask(submission)
    headers = {"Location": f"/v1/requests/{receipt.id}"}
    if receipt.replayed:
        headers["Idempotent-Replayed"] = "true"
    # A finished answer: the framework would check what we wrote ourselves, in one more turn of a thread.
    return JSONResponse(ReceiptView.of(receipt, shows_link=caller.sees_all_requests), 202, headers)


@router.get(
    "/v1/requests",
    operation_id="listRequests",
    summary="List requests, newest first",
    **needs(Scope.REQUESTS_READ, 422),
)
def list_page(query: Annotated[ListQuery, Query()], context: Context) -> Page:
    """Return one page; pass `next_cursor` as `cursor` for the next page; it is null on the last one."""
    filters = Filters(
        state=query.state,
        reason=query.reason,
        kind=query.kind,
        regime=query.regime,
        overdue=query.overdue,
        parked=query.parked,
        external_reference=query.external_reference,
        import_id=query.import_id,
        respond_before=query.respond_before,
    )
    return list_requests(context.stores, filters, limit=query.limit, cursor=query.cursor)


@router.post(
    "/v1/requests/lookup",
    operation_id="lookupSubject",
    summary="Did you delete me?",
    **needs(Scope.REQUESTS_READ, 400, 413, 415, 422),
)
def lookup(body: LookupBody, caller: CurrentCaller, context: Context) -> SubjectView:
    """Find the requests about one identifier, sealed ones included. Each look-up is audited."""
    identifier = Identifier(body.identifier.kind, body.identifier.value)
    return lookup_subject(context.stores, context.settings, identifier, caller=caller)


@router.get(
    "/v1/requests/{request_id:uuid}",
    operation_id="showRequest",
    summary="Show one request",
    **needs(Scope.REQUESTS_READ, 404, 422),
)
def show(
    request_id: UUID, query: Annotated[ShowQuery, Query()], caller: CurrentCaller, context: Context
) -> RequestView:
    """Show state, deadline, plan, steps and attempts, and masked identifiers.

    Reading masks is audited, so poll with `masks=false`.
    """
    return show_request(context.stores, request_id, reader=caller.actor, masks=query.masks)
