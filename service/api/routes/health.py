"""Systems, metrics, the OpenAPI description and health, for operators and their tools."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.authentication import GuardedRoute, needs, open_to_anybody
from service.api.dependencies import Context
from service.api.routes.readiness import why_not_ready
from service.api.views import Alive, Ready, SystemsView
from service.domain.access.api_key import Scope
from service.execution.systems.list import list_systems

router = APIRouter(route_class=GuardedRoute, tags=["operations"])
_METRICS = needs(Scope.METRICS_READ)
_METRICS["responses"][200] = {"description": "Prometheus text format", "content": {"text/plain": {}}}
_DESCRIPTION = needs(Scope.SYSTEMS_READ)
_DESCRIPTION["responses"][200] = {
    "description": "This description",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


@router.get("/v1/systems", operation_id="listSystems", summary="List connected systems", **needs(Scope.SYSTEMS_READ))
def systems(context: Context) -> SystemsView:
    """List the systems, each with its connector's declaration and the result of its last check."""
    return SystemsView(list_systems(context.stores, context.settings))


@router.get(
    "/metrics",
    operation_id="readMetrics",
    summary="Metrics in the text format of Prometheus",
    response_class=Response,
    **_METRICS,
)
def metrics(context: Context) -> Response:
    """Return counts only: no ids and no personal data."""
    return Response(context.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get(
    "/openapi.json",
    operation_id="describeApi",
    summary="The OpenAPI description of this API",
    response_class=JSONResponse,
    **_DESCRIPTION,
)
def description(request: Request) -> Response:
    """Return the description, which is the same for every installation of this version."""
    return JSONResponse(request.app.openapi())


@router.get("/healthz", operation_id="isAlive", summary="Does the process answer?", **open_to_anybody())
def alive() -> Alive:
    """Answer without a call to the stores."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="isReady",
    summary="Do the stores answer, and can the evidence be kept?",
    **open_to_anybody(503),
)
def ready(context: Context) -> Ready:
    """Answer 503 while a store doesn't answer or isn't migrated, or a needed epoch key is missing.

    Also while the audit log can't be signed or is too far behind; `detail` has the reason: `signing_key_unusable`,
    `audit_log_broken`, `audit_unsequenced`, `audit_unanchored`.
    """
    trouble = why_not_ready(context.stores, context.settings)
    if trouble is not None:
        raise trouble
    return Ready()
