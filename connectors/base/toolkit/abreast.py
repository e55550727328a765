"""The people of one batch abreast: for vendors that take one person per call.

Decides how many calls of one batch are under way together; not how many batches there are. Threads pay only against
waiting: while a vendor answers faster than two threads could take turns, people go one after another in the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from connectors.base.errors import ConnectorError
from connectors.base.values import Subject

_Got = TypeVar("_Got")

# Measured against a local vendor: below this wait a person, handing the interpreter from thread to thread costs more
# than the waiting that it saves.
_WORTH_A_THREAD_SECONDS = 0.003


def for_each_person(
    people: Sequence[Subject], act: Callable[[Subject], _Got], *, at_most: int
) -> dict[str, _Got | ConnectorError]:
    """`act` for every person, `at_most` at a time. A ConnectorError is the answer of that person alone.

    Anything else that is raised, `LeaseLost` above all, stops the people who haven't begun and is raised here when
    those under way have ended. `act` runs in several threads: what it shares must bear that, as `VendorClient` does.
    """
    answers: dict[str, _Got | ConnectorError] = {}
    waited = 0.0
    for count, person in enumerate(people):
        if at_most > 1 and count and len(people) - count > 1 and waited / count >= _WORTH_A_THREAD_SECONDS:
            return answers | _abreast(people[count:], act, min(at_most, len(people) - count))
        wall, own = time.monotonic(), time.thread_time()
        answers[person.ref] = _answer(act, person)
        waited += (time.monotonic() - wall) - (time.thread_time() - own)
    return answers


def _abreast(
    people: Sequence[Subject], act: Callable[[Subject], _Got], at_most: int
) -> dict[str, _Got | ConnectorError]:
    stopped = Event()

    def one(person: Subject) -> _Got | ConnectorError | None:
        if stopped.is_set():
            return None
        try:
            return _answer(act, person)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(at_most, thread_name_prefix="person") as pool:
        futures = {person.ref: pool.submit(one, person) for person in people}
    # Results are read after all have ended: whoever raised is heard, and nobody is left under way.
    answers = {ref: future.result() for ref, future in sorted(futures.items(), key=lambda f: f[1].exception() is None)}
    return {ref: answer for ref, answer in answers.items() if answer is not None}


def _answer(act: Callable[[Subject], _Got], person: Subject) -> _Got | ConnectorError:
    try:
        return act(person)
    except ConnectorError as error:
        return error
