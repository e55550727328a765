"""A worker process that the machine can stop at every point, wake again, kill, or have its delivery repeated.

What runs is the product's own `execute_batch`, in a thread; machine and thread hand over to each other, so that never
two things happen at once. A process that is killed leaves nothing behind but its committed transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from connectors.base.values import Record, Subject
from service.execution import record as recording
from service.execution import run_batch
from service.execution.heartbeat import HeldLease
from service.execution.lease import LeasedBatch
from tests.properties.engine.moods import Mood, PassMood

if TYPE_CHECKING:
    from tests.properties.engine.world import World


class WorkerDied(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


class _ThisThread(threading.local):
    works_on: WorkerPass


this_thread = _ThisThread()


class SteppedLease(HeldLease):
    """The product's lease, whose background thread is the machine: it renews when the machine says so."""

    def __enter__(self) -> SteppedLease:
        this_thread.works_on.lease = self
        return self

    def __exit__(self, *error: object) -> None:
        """There is no thread to wait for."""

    def renew_once(self) -> None:
        """One round of the product's own renewal."""
        self._over = _Once()  # type: ignore[assignment]  # waits like an Event
        self._renew()


class _Once:
    def __init__(self) -> None:
        self._waited = False

    def wait(self, _seconds: float) -> bool:
        self._waited, over = True, self._waited
        return over


class WorkerPass:
    """One leased batch in the hands of one process."""

    def __init__(
        self,
        world: World,
        leased: LeasedBatch,
        moods: Mapping[str, Mood],
        look_moods: Mapping[str, Mood],
        mood: PassMood,
    ) -> None:
        self.world = world
        self.leased = leased
        self.moods = moods
        self.look_moods = look_moods
        self.mood = mood
        self.leased_at = world.clock.now()
        self.lease: SteppedLease | None = None
        self.delivery: tuple[Any, ...] | None = None
        self.at: str | None = "leased"
        self._dies_at: int | None = None
        self._pauses = 0
        self._thread: threading.Thread | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self._failure: BaseException | None = None
        self._runtime = world.runtime_of_a_process()

    # What the machine does with it.

    def run(self, *, dies_at: int | None = None) -> None:
        """Go on to the end, or die at the given point (counted from 0), all in the machine's own thread."""
        self._dies_at = dies_at
        self._perform()
        self._raise_failure()

    def go_on(self) -> None:
        """Go on to the next point, in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._perform_in_thread, daemon=True)
            self._thread.start()
        self._go.release()
        self._wait()

    def kill(self) -> None:
        """The process is gone; what it held in memory with it."""
        if self._thread is not None and self.at is not None:
            self._killed = True
            self._go.release()
            self._wait()
        self.at = None
        self.delivery = None

    def deliver_again(self) -> None:
        """The same answers are recorded a second time."""
        assert self.delivery is not None
        self.world.record(self, *self.delivery)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.at is None

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=60), "a worker neither stopped nor ended"
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # What happens inside of it.

    def pause(self, at: str) -> None:
        """The process has come to a point at which it may stop or die."""
        self.world.tell(f"  {self.leased.system} {self.leased.phase} fence {self.leased.fence}: {at}")
        self.at = at
        if self._thread is None:
            if self._dies_at is not None and self._pauses == self._dies_at:
                raise WorkerDied
            self._pauses += 1
            return
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise WorkerDied

    def told(self, subject: Subject) -> None:
        """The vendor was told of a person."""
        self.world.ledger.told(self, subject)

    def acts_on(self, subject: Subject, records: frozenset[Record]) -> None:
        """An effect on a person begins."""
        self.world.ledger.acts_on(self, subject, records)

    def looked(self, subject: Subject) -> None:
        """A look at a person was answered."""
        self.world.ledger.looked(self, subject)

    def saved(self, token: bytes) -> None:
        """A resume token is durable."""
        self.world.ledger.saved(self, token)

    def _perform_in_thread(self) -> None:
        self._go.acquire()
        self._perform()
        self._stopped.release()

    def _perform(self) -> None:
        this_thread.works_on = self
        try:
            run_batch.execute_batch(self._runtime, self.leased)
        except WorkerDied:
            self.world.tell(f"  {self.leased.system} {self.leased.phase}: the process died")
            self.delivery = None
        except BaseException as failure:
            self._failure = failure
        self.at = None


def patched(set_attribute: Callable[[str, Any], None], world: World) -> None:
    """Have the workers use the machine's clock, its stepped lease and its points to stop at."""

    def record_answers(*arguments: Any) -> recording.Recorded:
        works_on = this_thread.works_on
        works_on.delivery = arguments
        works_on.pause("record")
        recorded = world.record(works_on, *arguments)
        works_on.pause("recorded")
        return recorded

    set_attribute("service.execution.run_batch.record_answers", record_answers)
    set_attribute("service.execution.run_batch.HeldLease", SteppedLease)
    set_attribute("service.execution.database_clock.datetime", world.clock)
    set_attribute("service.execution.database_clock.time", world.clock)
    set_attribute("service.execution.heartbeat.time", world.clock)
    set_attribute("service.execution.lease.time", world.clock)
