"""Calls of one batch abreast: for vendors that take one person per call.

Decides how many calls of one batch are under way together; not how many batches there are. Threads pay only against
waiting: while a vendor answers faster than two threads could take turns, calls go one after another in the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from connectors.base.errors import ConnectorError
from connectors.base.values import Subject

_Item = TypeVar("_Item", bound=Hashable)
_Got = TypeVar("_Got")

# Measured against a local vendor: below this wait a call, handing the interpreter from thread to thread costs more than
# the waiting that it saves.
_WORTH_A_THREAD_SECONDS = 0.003


def for_each_person(
    people: Sequence[Subject], act: Callable[[Subject], _Got], *, at_most: int
) -> dict[str, _Got | ConnectorError]:
    """`abreast` for people: what `act` gave, or the ConnectorError that it raised, by `Subject.ref`."""
    by_ref = {person.ref: person for person in people}
    return abreast(list(by_ref), lambda ref: act(by_ref[ref]), at_most=at_most)


def abreast(
    items: Sequence[_Item], act: Callable[[_Item], _Got], *, at_most: int
) -> dict[_Item, _Got | ConnectorError]:
    """`act` for every item, `at_most` at a time, begun in their order. A ConnectorError is the answer of its item.

    Anything else that is raised, `LeaseLost` above all, stops the items that haven't begun and is raised here when
    those under way have ended. `act` runs in several threads: what it shares must bear that, as `VendorClient` does.
    """
    answers: dict[_Item, _Got | ConnectorError] = {}
    waited = 0.0
    for count, item in enumerate(items):
        left = len(items) - count
        if at_most > 1 and count and left > 1 and waited / count >= _WORTH_A_THREAD_SECONDS:
            return answers | _in_threads(items[count:], act, min(at_most, left))
        wall, own = time.monotonic(), time.thread_time()
        answers[item] = _answer(act, item)
        waited += (time.monotonic() - wall) - (time.thread_time() - own)
    return answers


def _in_threads(
    items: Sequence[_Item], act: Callable[[_Item], _Got], threads: int
) -> dict[_Item, _Got | ConnectorError]:
    stopped = Event()

    def one(item: _Item) -> _Got | ConnectorError | None:
        if stopped.is_set():
            return None
        try:
            return _answer(act, item)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(threads, thread_name_prefix="abreast") as pool:
        futures = {item: pool.submit(one, item) for item in items}
    # All have ended here: whoever raised is heard first, and nobody is left under way.
    for future in futures.values():
        if (error := future.exception()) is not None:
            raise error
    answers = {item: future.result() for item, future in futures.items()}
    return {item: answer for item, answer in answers.items() if answer is not None}


def _answer(act: Callable[[_Item], _Got], item: _Item) -> _Got | ConnectorError:
    try:
        return act(item)
    except ConnectorError as error:
        return error
