"""What every endpoint works with, and who is calling: handed to endpoints as typed parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.access.authenticate import check_keys
from service.api.micro_batching import Gathering
from service.api.routes.metrics import Metrics
from service.domain.access.api_key import Caller, KeyRefusal
from service.requests.intake.submit import Receipt, Submission, submit_requests
from service.settings import Settings
from service.store.stores import Stores


@dataclass(frozen=True)
class Door:
    """The open things of this process. Keys that are presented together, and submissions, are served together."""

    stores: Stores
    settings: Settings
    metrics: Metrics
    keys: Gathering[str, Caller | KeyRefusal]
    submissions: Gathering[Submission, Receipt]

    @classmethod
    def of(cls, stores: Stores, settings: Settings, metrics: Metrics) -> Door:
        """The door over stores that the caller opened."""
        return cls(
            stores,
            settings,
            metrics,
            keys=Gathering(lambda tokens: check_keys(stores, tokens)),
            submissions=Gathering(lambda submissions: submit_requests(stores, settings, submissions)),
        )


def door_of(request: Request) -> Door:
    """The door of the running application."""
    door: Door = request.app.state.door
    return door


async def _door(request: Request) -> Door:
    return door_of(request)


async def _caller(request: Request) -> Caller:
    """Whose key was checked for this request: set by `authentication.GuardedRoute` before the endpoint runs."""
    caller: Caller = request.state.caller
    return caller


# Coroutines that wait for nothing: what isn't one gets a turn of a thread for itself with every call.
TheDoor = Annotated[Door, Depends(_door)]
TheCaller = Annotated[Caller, Depends(_caller)]
