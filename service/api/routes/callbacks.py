"""`/v1/callbacks/{system}`: a vendor reports a changed job; its signature replaces an API key.

Decides how much is read of an unauthenticated call: calls per second and at once, bytes, seconds. Every refusal looks
the same, whether the system doesn't exist, sends no callbacks, or the signature is wrong. No part of the body is stored
or logged; `service.execution.callbacks` decides what a genuine call changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from connectors.base.callbacks import CallbackCall
from connectors.base.pacing import SlidingWindow
from service.api.authentication import GuardedRoute, signed_by_vendor
from service.api.bodies.request_body import read_at_most
from service.api.dependencies import Context
from service.api.problems import Trouble
from service.execution.callbacks import CallbackOutcome, hear_callback

MAX_CALLBACK_BYTES = 1024 * 1024
_CALLS_PER_SECOND = 50
_CALLS_AT_ONCE = 16
_READING_SECONDS = 10.0

router = APIRouter(route_class=GuardedRoute, tags=["callbacks"])


class ConcurrencyLimiter:
    """Limits unauthenticated calls of all systems together, so that a refusal discloses no system."""

    def __init__(self) -> None:
        self._last_second = SlidingWindow(1.0)
        self._inside = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot. Raises Trouble 429 when none is free. For the event loop's thread only."""
        now = time.monotonic()
        if self._inside >= _CALLS_AT_ONCE or not self._last_second.free(now, _CALLS_PER_SECOND):
            raise Trouble(429, "too_many_calls", headers={"Retry-After": "1", "Connection": "close"})
        self._last_second.take(now)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


@router.post(
    "/v1/callbacks/{system}",
    operation_id="hearCallback",
    summary="Accept a vendor's report about a job",
    status_code=202,
    response_class=Response,
    **signed_by_vendor(401, 408, 413, 429),
)
async def hear(system: str, request: Request, context: Context) -> Response:
    """Accept a vendor's call, signed as its connector declares.

    202: the steps that wait for the job are checked soon.
    """
    try:
        heard = await _heard(system, request, context)
    except Trouble as trouble:
        context.metrics.heard_callback(trouble.code)
        raise
    context.metrics.heard_callback(heard)
    if heard is CallbackOutcome.REFUSED:
        raise Trouble(401, "callback_refused")
    return Response(status_code=202)


async def _heard(system: str, request: Request, context: Context) -> CallbackOutcome:
    callback_limiter: ConcurrencyLimiter = request.app.state.callback_limiter
    async with callback_limiter.slot():
        try:
            async with asyncio.timeout(_READING_SECONDS):
                body = await read_at_most(request, MAX_CALLBACK_BYTES)
        except TimeoutError:
            raise Trouble(408, "too_slow", headers={"Connection": "close"}) from None
        call = CallbackCall({name.lower(): value for name, value in request.headers.items()}, body)
        return await run_in_threadpool(hear_callback, context.stores, context.settings, system, call, datetime.now(UTC))
