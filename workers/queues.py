"""The queue of each nudge: control, the log, all systems, or one for each kind with its own workers."""

from __future__ import annotations

from celery import current_app

from service.settings import AUDIT_QUEUE, CONTROL_QUEUE, SYSTEMS_QUEUE, Settings, queue_of_kind

__all__ = ["AUDIT_QUEUE", "CONTROL_QUEUE", "SYSTEMS_QUEUE", "consumed_queues", "queue_of"]


def queue_of(settings: Settings, connector: str) -> str:
    """The queue of a system of this kind."""
    return queue_of_kind(connector) if connector in settings.service.dedicated_workers else SYSTEMS_QUEUE


def consumed_queues() -> tuple[str, ...]:
    """The queues that this worker process takes its tasks from."""
    return tuple(current_app.amqp.queues.consume_from)
