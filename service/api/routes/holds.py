"""`/v1/holds`: place, list and lift legal holds. The identifiers of a hold are never shown."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from connectors.base.values import Identifier
from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context, CurrentCaller
from service.api.schemas import HoldBody, HoldsQuery
from service.api.views import HoldsView
from service.domain.access.api_key import Scope
from service.domain.requests.holds import LiftReason
from service.requests.holds.lift import lift_hold
from service.requests.holds.list import HoldView, list_holds, show_hold
from service.requests.holds.place import place_hold

router = APIRouter(route_class=GuardedRoute, tags=["holds"])


@router.post(
    "/v1/holds",
    status_code=201,
    operation_id="placeHold",
    summary="Place a legal hold",
    **needs(Scope.HOLDS_WRITE, 400, 413, 415, when_refused="no hold was placed, and the work on the person continues"),
)
def place(body: HoldBody, caller: CurrentCaller, context: Context, response: Response) -> HoldView:
    """Place a hold: from `effective_at` on no effect on the person starts, in any system and any request."""
    hold = place_hold(
        context.stores,
        context.settings,
        identifiers=[Identifier(each.kind, each.value) for each in body.identifiers],
        reason=body.reason,
        until=body.until,
        caller=caller,
    )
    response.headers["Location"] = f"/v1/holds/{hold.id}"
    return show_hold(context.stores, hold.id)


@router.get("/v1/holds", operation_id="listHolds", summary="List legal holds", **needs(Scope.HOLDS_READ, 422))
def list_all(query: Annotated[HoldsQuery, Query()], context: Context) -> HoldsView:
    """List the holds in force, newest first; with `include_lifted` also those that ended."""
    return HoldsView(list_holds(context.stores, include_lifted=query.include_lifted))


@router.get(
    "/v1/holds/{hold_id:uuid}", operation_id="showHold", summary="Show a legal hold", **needs(Scope.HOLDS_READ, 404)
)
def show(hold_id: UUID, context: Context) -> HoldView:
    """Show a hold, in force or ended."""
    return show_hold(context.stores, hold_id)


@router.delete(
    "/v1/holds/{hold_id:uuid}",
    operation_id="liftHold",
    summary="Lift a legal hold",
    **needs(Scope.HOLDS_WRITE, 404, 409, 422),
)
def lift(hold_id: UUID, reason: Annotated[LiftReason, Query()], caller: CurrentCaller, context: Context) -> HoldView:
    """Lift a hold. Steps that no other hold stops continue at once."""
    lift_hold(context.stores, hold_id, reason=reason, actor=caller.actor)
    return show_hold(context.stores, hold_id)
