"""`service.probe_port`: health on a separate listener, reachable also while the API's port is flooded.

It runs in a thread with an event loop, a connection gate and a database connection of its own. It says that the API is
alive only if the API's own event loop turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.api.middleware import HEADERS
from service.api.problems import Trouble, problem_response
from service.api.routes.readiness import why_not_ready
from service.api.server.connection_limits import ConnectionGate, ConnectionLimits, Ended
from service.api.server.limited_protocol import limited_protocol
from service.settings import Settings
from service.store.stores import Stores

_TURN_SECONDS = 5.0
_LIMITS = ConnectionLimits(
    max_connections=64,
    max_connections_per_client=64,
    header_timeout_seconds=2.0,
    body_timeout_seconds=2.0,
    min_body_bytes_per_second=1024.0,
)


@contextlib.contextmanager
def probes(
    listeners: Sequence[socket.socket], stores: Stores, settings: Settings, api_loop: asyncio.AbstractEventLoop
) -> Iterator[None]:
    """Answer `/healthz` and `/readyz` at these listeners until the end of the context, and close them."""
    server = uvicorn.Server(
        uvicorn.Config(
            _app(stores, settings, api_loop),
            http=limited_protocol(ConnectionGate(_LIMITS, _not_counted)),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=(list(listeners),), name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _not_counted(reason: Ended) -> None:
    """The metric is about the API's listener."""


def _app(stores: Stores, settings: Settings, api_loop: asyncio.AbstractEventLoop) -> Starlette:
    async def alive(request: Request) -> Response:
        try:
            turn = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), api_loop)
            await asyncio.wait_for(asyncio.wrap_future(turn), _TURN_SECONDS)
        except (TimeoutError, RuntimeError):
            return _unavailable(Trouble(503, "unavailable", headers={"Retry-After": "2"}))
        return JSONResponse({"status": "alive"}, headers=HEADERS)

    async def ready(request: Request) -> Response:
        trouble = await run_in_threadpool(why_not_ready, stores, settings)
        return JSONResponse({"status": "ready"}, headers=HEADERS) if trouble is None else _unavailable(trouble)

    return Starlette(routes=[Route("/healthz", alive), Route("/readyz", ready)])


def _unavailable(trouble: Trouble) -> Response:
    answer = problem_response(trouble)
    answer.headers.update(HEADERS)
    return answer
