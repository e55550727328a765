"""The people of a batch in turn: the error of one person against the error of the system.

Decides which errors end the pass for all people: a refused credential and "too many calls" would be answered to every
further call as well, and each of those calls makes it worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from connectors.base.errors import ConnectorError
from connectors.base.toolkit.concurrently import for_each_person
from connectors.base.values import Subject

_Got = TypeVar("_Got")


def concerns_all(error: ConnectorError) -> bool:
    """True for an error that any further call would get too: HTTP 401 and 429. A 403 or a 5xx may be one record's."""
    return error.status in (401, 429)


def each_person(
    people: Sequence[Subject], act: Callable[[Subject], _Got], *, at_most: int
) -> dict[str, _Got | ConnectorError]:
    """Return what `act` returned, or the ConnectorError that it raised, by `Subject.ref`.

    After an error that concerns all, the people whose turn hasn't come have that error without any call.
    LeaseLost stops everything.
    """
    ended: list[ConnectorError] = []

    def in_turn(person: Subject) -> _Got:
        if ended:
            raise ended[0]
        try:
            return act(person)
        except ConnectorError as error:
            if concerns_all(error):
                ended.append(error)
            raise

    return for_each_person(people, in_turn, at_most=at_most)
