"""Wake the control workers at fixed intervals of the monotonic clock: Celery beat's scheduler.

It stores nothing on disk. Celery's own scheduler compares whole schedules of aware datetimes at each tick: with nine
entries, five ticks a second cost a twentieth of the work that they started. Decides not to send while an earlier
message still waits at the broker, because no worker would take the new one sooner, and each costs milliseconds later.
Due work is in rows, so a message that isn't sent, or is lost, causes a delay and nothing else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.beat import Scheduler
from kombu.exceptions import OperationalError

from workers.queues import CONTROL_QUEUE

log = structlog.get_logger(__name__)

_SHORTEST_SLEEP_SECONDS = 0.001
# While a message waits in a queue, the scheduler looks again after this time, so that the next one isn't a second late.
_LOOK_AGAIN_SECONDS = 0.2


@dataclass
class Timer:
    """One task to send: its queue, its interval, Celery's options, and its next time (monotonic seconds)."""

    task: str
    queue: str
    every_seconds: float
    options: dict[str, Any]
    next_at: float


class MonotonicScheduler(Scheduler):
    """Send the tasks that are due to every empty queue; try the other queues again a little later."""

    def setup_schedule(self) -> None:
        """Everything is due at once, as at every start."""
        now = time.monotonic()
        app: Celery = self.app
        routes = app.conf.task_routes or {}
        self.timers = [
            Timer(
                entry["task"],
                routes.get(entry["task"], {}).get("queue", CONTROL_QUEUE),
                float(entry["schedule"]),
                entry["options"],
                now,
            )
            for entry in app.conf.beat_schedule.values()
        ]

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due. Returns for how many seconds nothing will be."""
        now = time.monotonic()
        due = [timer for timer in self.timers if timer.next_at <= now]
        if due:
            soon = now + _LOOK_AGAIN_SECONDS
            is_taken = {queue: self._is_taken(queue) for queue in {timer.queue for timer in due}}
            for timer in due:
                timer.next_at = now + timer.every_seconds if is_taken[timer.queue] and self._send(timer) else soon
        return max(min(timer.next_at for timer in self.timers) - time.monotonic(), _SHORTEST_SLEEP_SECONDS)

    def should_sync(self) -> bool:
        """There is nothing to write down."""
        return False

    def _is_taken(self, queue: str) -> bool:
        """Return True if no message of ours waits in the queue, or if the broker can't be asked.

        Sending finds out whether the broker is there.
        """
        try:
            channel: Any = self.producer.channel
            lying: int = channel.queue_declare(queue=queue).message_count
        except self._broker_errors() as error:
            log.warning("queue_not_read", queue=queue, error=type(error).__name__)
            return True
        return lying == 0

    def _send(self, timer: Timer) -> bool:
        try:
            self.app.send_task(timer.task, producer=self.producer, **timer.options)
        except self._broker_errors() as error:
            log.exception("wake_up_not_sent", task=timer.task, error=type(error).__name__)
            return False
        return True

    def _broker_errors(self) -> tuple[type[BaseException], ...]:
        """Return the errors that mean that the broker is unreachable now; the next message connects again."""
        return (OperationalError, OSError, *self.connection.connection_errors, *self.connection.channel_errors)
