"""Calls of one batch abreast: for vendors that take one person per call.

Decides how many calls of one batch are under way together; not how many batches there are. Threads pay only against
waiting: while a vendor answers faster than two threads could take turns, calls go one after another in the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

from connectors.base.errors import ConnectorError
from connectors.base.values import Subject

_Item = TypeVar("_Item", bound=Hashable)
_Got = TypeVar("_Got")

# Measured against a local vendor: below this wait a call, handing the interpreter from thread to thread costs more than
# the waiting that it saves. With httpx (2026-12-01) a pair of three calls cost 5.6 ms of CPU at 3 ms, and 4.4 at 10 ms.
_WORTH_A_THREAD_SECONDS = 0.010


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
    return _Row(items, act, at_most).go()


class _Row(Generic[_Item, _Got]):
    """The items that haven't begun, and whoever takes the next one: the caller, and others as soon as he waits."""

    def __init__(self, items: Sequence[_Item], act: Callable[[_Item], _Got], at_most: int) -> None:
        self._left: Iterator[_Item] = iter(items)
        self._act = act
        self._places = min(at_most, len(items)) - 1
        self._answers: dict[_Item, _Got | ConnectorError] = {}
        self._lock = threading.Lock()
        self._first_ended = threading.Event()
        self._others: list[threading.Thread] = []
        self._closed = False
        self._raised: BaseException | None = None

    def go(self) -> dict[_Item, _Got | ConnectorError]:
        """Until all have ended, whoever acts."""
        has_company = self._places > 0
        try:
            if has_company:
                self._start(self._help_if_the_first_lasts)
            self._work(looks_at_the_clock=has_company)
        finally:
            # Whatever ended the caller's part, nobody is left under way.
            self._close()
        if self._raised is not None:
            raise self._raised
        return self._answers

    def _work(self, *, looks_at_the_clock: bool = False) -> None:
        waited, count = 0.0, 0
        for item in self._items():
            if not looks_at_the_clock:
                self._answer(item)
                continue
            wall, own = time.monotonic(), time.thread_time()
            self._answer(item)
            self._first_ended.set()
            waited += (time.monotonic() - wall) - (time.thread_time() - own)
            count += 1
            if waited / count >= _WORTH_A_THREAD_SECONDS:
                self._call_others()
                looks_at_the_clock = False

    def _items(self) -> Iterator[_Item]:
        """The next one that nobody has begun, as long as nobody raised."""
        while True:
            with self._lock:
                if self._closed or self._raised is not None:
                    return
                try:
                    item = next(self._left)
                except StopIteration:
                    return
            yield item

    def _answer(self, item: _Item) -> None:
        answer: _Got | ConnectorError
        try:
            answer = self._act(item)
        except ConnectorError as error:
            answer = error
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            with self._lock:
                self._raised = self._raised or error
            return
        self._answers[item] = answer

    def _help_if_the_first_lasts(self) -> None:
        """One who begins the next item while the caller still waits for the first."""
        if self._first_ended.wait(_WORTH_A_THREAD_SECONDS):
            with self._lock:
                self._places += 1
            return
        self._call_others()
        self._work()

    def _call_others(self) -> None:
        while self._start(self._work):
            pass

    def _start(self, what: Callable[[], None]) -> bool:
        """True if there was a place for one more, and the machine had a thread for them."""
        with self._lock:
            if self._closed or not self._places:
                return False
            thread = threading.Thread(target=what, name="abreast", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._places -= 1
            self._others.append(thread)
            return True

    def _close(self) -> None:
        self._first_ended.set()
        with self._lock:
            self._closed = True
        for thread in self._others:
            thread.join()
