"""Make the calls of one batch concurrently, for vendors that take one person per call.

Decides how many calls of one batch are under way together; not how many batches there are. Threads only save waiting:
while a vendor answers faster than two threads could take turns, the caller's thread makes the calls in sequence.
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
    """`concurrently` for people: the result of `act`, or its ConnectorError, by `Subject.ref`."""
    by_ref = {person.ref: person for person in people}
    return concurrently(list(by_ref), lambda ref: act(by_ref[ref]), at_most=at_most)


def concurrently(
    items: Sequence[_Item], act: Callable[[_Item], _Got], *, at_most: int
) -> dict[_Item, _Got | ConnectorError]:
    """Call `act` for every item, `at_most` at a time, begun in their order.

    A ConnectorError is its item's answer.

    Any other exception, `LeaseLost` above all, stops the items that haven't begun and is raised here when those under
    way have ended. `act` runs in several threads: objects that it shares must be thread-safe, as `VendorClient` is.
    """
    return _Pool(items, act, at_most).go()


class _Pool(Generic[_Item, _Got]):
    """The items that haven't begun, and the threads that take them; more than one once the caller waits."""

    def __init__(self, items: Sequence[_Item], act: Callable[[_Item], _Got], at_most: int) -> None:
        self._left: Iterator[_Item] = iter(items)
        self._act = act
        self._free = min(at_most, len(items)) - 1
        self._answers: dict[_Item, _Got | ConnectorError] = {}
        self._lock = threading.Lock()
        self._first_ended = threading.Event()
        self._workers: list[threading.Thread] = []
        self._closed = False
        self._raised: BaseException | None = None

    def go(self) -> dict[_Item, _Got | ConnectorError]:
        """Act on every item; return when all have ended."""
        may_use_threads = self._free > 0
        try:
            if may_use_threads:
                self._start(self._start_second_worker)
            self._work(measures_waiting=may_use_threads)
        finally:
            # No thread stays under way, however the caller's part ended.
            self._close()
        if self._raised is not None:
            raise self._raised
        return self._answers

    def _work(self, *, measures_waiting: bool = False) -> None:
        waited, count = 0.0, 0
        for item in self._items():
            if not measures_waiting:
                self._answer(item)
                continue
            wall, own = time.monotonic(), time.thread_time()
            self._answer(item)
            self._first_ended.set()
            waited += (time.monotonic() - wall) - (time.thread_time() - own)
            count += 1
            if waited / count >= _WORTH_A_THREAD_SECONDS:
                self._start_workers()
                measures_waiting = False

    def _items(self) -> Iterator[_Item]:
        """Items that no thread has begun, as long as no thread raised."""
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

    def _start_second_worker(self) -> None:
        """Begin the next item in a second thread while the caller still waits for the first."""
        if self._first_ended.wait(_WORTH_A_THREAD_SECONDS):
            with self._lock:
                self._free += 1
            return
        self._start_workers()
        self._work()

    def _start_workers(self) -> None:
        while self._start(self._work):
            pass

    def _start(self, target: Callable[[], None]) -> bool:
        """True if one more may run, and the machine had a thread for it."""
        with self._lock:
            if self._closed or not self._free:
                return False
            thread = threading.Thread(target=target, name="concurrently", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._free -= 1
            self._workers.append(thread)
            return True

    def _close(self) -> None:
        self._first_ended.set()
        with self._lock:
            self._closed = True
        for thread in self._workers:
            thread.join()
