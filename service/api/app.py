"""Build the API: routes, problems, middleware, OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.authentication import SECURITY_SCHEME
from service.api.dependencies import AppContext
from service.api.middleware import ErrorMiddleware
from service.api.problems import FieldError, Problem, install
from service.api.routes import audit, callbacks, certificates, holds, imports, requests, steps, suppressions
from service.api.routes import health as operations
from service.api.routes import request_decisions as decisions
from service.api.routes.metrics import Metrics
from service.settings import Settings
from service.store.stores import Stores

API_VERSION = "1"
_ROUTERS = (
    requests.router,
    imports.router,
    decisions.router,
    steps.router,
    certificates.router,
    audit.router,
    holds.router,
    suppressions.router,
    callbacks.router,
    operations.router,
)


def create_app(stores: Stores, settings: Settings) -> FastAPI:
    """Return the application over stores that the caller opened and closes."""
    # Without the framework's own pages, because only health is served without a key.
    app = FastAPI(
        title="Expunge",
        version=API_VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    metrics = Metrics(stores, settings)
    app.state.context = AppContext.of(stores, settings, metrics)
    app.state.metrics = metrics
    app.state.callback_limiter = callbacks.ConcurrencyLimiter()
    for router in _ROUTERS:
        app.include_router(router)
    app.state.routes = [route for router in _ROUTERS for route in router.routes]
    install(app)
    app.add_middleware(ErrorMiddleware, metrics=metrics)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _describe(app: FastAPI) -> dict[str, object]:
    """Return the OpenAPI description, with the schema of problems and the authentication."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary="Propagates a person's deletion to every system that holds their data, and proves it.",
            routes=app.routes,
        )
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _drop_frameworks_own_errors(schema["paths"].values())
        for model in (Problem, FieldError):
            own = model.model_json_schema(ref_template="#/components/schemas/{model}")
            own.pop("$defs", None)
            schemas[model.__name__] = own
        components["securitySchemes"] = {
            SECURITY_SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "xpg_<prefix>_<secret>",
                "description": "An API key made by `expunge keys create`. Each operation names the scope it needs.",
            }
        }
        app.openapi_schema = schema
    return app.openapi_schema


class _ResponseObject(TypedDict, total=False):
    content: dict[str, object]


class _OperationObject(TypedDict):
    responses: dict[str, _ResponseObject]


def _drop_frameworks_own_errors(paths: Iterable[Mapping[str, _OperationObject]]) -> None:
    """Remove FastAPI's own 422 from each operation; ours are problems, or they can't happen."""
    for methods in paths:
        for operation in methods.values():
            if "application/problem+json" not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)
