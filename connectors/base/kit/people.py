"""The people of a batch in turn: the error of one person against the error of the system.

Decides which errors end the pass for all people: a refused credential and "too many calls" would be answered to every
further call as well, and each of those calls makes it worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.toolkit.concurrently import for_each_person
from connectors.base.values import Subject

_Got = TypeVar("_Got")


# After one of these the next call would only wait for the same answer.
UNREACHABLE = frozenset({"no_connection", "timeout", "deadline_passed", "address_refused", "proxy_refused"})


def concerns_all(error: ConnectorError) -> bool:
    """True for an error that any further call would get too: HTTP 401 and 429.

    A 403 or a 5xx may be one record's.
    """
    return error.status in (401, 429)


class Turns:
    """Calls in turn, until one gets an error that concerns all. Used by several threads."""

    def __init__(self, concerns_all: Callable[[ConnectorError], bool] = concerns_all) -> None:
        self._concerns_all = concerns_all
        self._ended: ConnectorError | None = None

    def take(self, act: Callable[[], _Got]) -> _Got:
        """Return what `act` returns, or raise the error that ended the turns, without a call."""
        if self._ended is not None:
            raise self._ended
        try:
            return act()
        except ConnectorError as error:
            if self._concerns_all(error):
                self._ended = _without_effect(error)
            raise


def each_person(
    people: Sequence[Subject],
    act: Callable[[Subject], _Got],
    *,
    at_most: int,
    concerns_all: Callable[[ConnectorError], bool] = concerns_all,
) -> dict[str, _Got | ConnectorError]:
    """Return what `act` returned, or the ConnectorError that it raised, by `Subject.ref`.

    After an error that concerns all, the people whose turn hasn't come have that error without any call.
    LeaseLost stops everything.
    """
    turns = Turns(concerns_all)
    return for_each_person(people, lambda person: turns.take(lambda: act(person)), at_most=at_most)


def _without_effect(error: ConnectorError) -> ConnectorError:
    """Return the error for calls that were never made: they had no effect."""
    if isinstance(error, TemporarilyUnavailable):
        after = error.retry_after_seconds
        return TemporarilyUnavailable(error.code, status=error.status, retry_after_seconds=after)
    return error
