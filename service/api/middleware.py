"""The outermost middleware: it adds headers to every answer, counts it, and lets no exception pass.

An exception without a problem of its own becomes a problem without detail. Its type and place are logged, its text
isn't, because it may contain parts of the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import Trouble, problem_response
from service.api.routes.metrics import Metrics
from service.logs import fault_of

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
# No answer sets one of them itself, so they are appended to the encoded headers.
RAW_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


class ErrorMiddleware:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *RAW_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - nothing may get past: a server would log the exception's text
            _report(error)
            if status is None:
                await problem_response(Trouble(500, "internal"))(scope, receive, send_on)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(method, _route(scope), status or 500, time.monotonic() - began)


def _route(scope: Scope) -> str:
    """Return the declared route, never the path of the call."""
    route = getattr(scope.get("route"), "path_format", None)
    return route if isinstance(route, str) else "none"


def _report(error: Exception) -> None:
    log.error("unhandled_exception", **fault_of(error))
