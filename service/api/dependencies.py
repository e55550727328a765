"""Parameters of endpoints: the context of the application, and the caller of a checked key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.access.authenticate import check_keys
from service.api.micro_batching import MicroBatcher
from service.api.routes.metrics import Metrics
from service.domain.access.api_key import Caller, KeyRefusal
from service.requests.intake.submit import Receipt, Submission, submit_requests
from service.settings import Settings
from service.store.stores import Stores


@dataclass(frozen=True)
class AppContext:
    """The open stores, settings and counters of this process; keys and submissions are batched."""

    stores: Stores
    settings: Settings
    metrics: Metrics
    keys: MicroBatcher[str, Caller | KeyRefusal]
    submissions: MicroBatcher[Submission, Receipt]

    @classmethod
    def of(cls, stores: Stores, settings: Settings, metrics: Metrics) -> AppContext:
        """Return the context over stores that the caller opened."""
        return cls(
            stores,
            settings,
            metrics,
            keys=MicroBatcher(lambda tokens: check_keys(stores, tokens)),
            submissions=MicroBatcher(lambda submissions: submit_requests(stores, settings, submissions)),
        )


def context_of(request: Request) -> AppContext:
    """Return the context of the running application."""
    context: AppContext = request.app.state.context
    return context


async def _context(request: Request) -> AppContext:
    return context_of(request)


async def _caller(request: Request) -> Caller:
    """The caller of this request: set by `authentication.GuardedRoute` before the endpoint runs."""
    caller: Caller = request.state.caller
    return caller


# Coroutines, although they wait for nothing: FastAPI runs any other function in a thread, at every call.
Context = Annotated[AppContext, Depends(_context)]
CurrentCaller = Annotated[Caller, Depends(_caller)]
