"""From due rows to nudges: which tasks to send, never more than there are free call slots.

A nudge that gets lost is sent again a little later, since the rows are still due.
"""

from __future__ import annotations

from celery import current_app

from service.execution.due import due_systems, has_due_identities
from service.execution.worker_context import WorkerContext
from service.suppression.scan_schedule import due_syncs
from workers.expiry import MESSAGE_LIFE_SECONDS
from workers.queues import SYSTEMS_QUEUE, queue_of

_NUDGE_AGAIN_SECONDS = 5.0
_SYNC_AGAIN_SECONDS = 60.0


def dispatch_due(runtime: WorkerContext) -> int:
    """Send one nudge to every due system with a free slot, and one for due identities.

    Returns how many were sent. One per tick, not one per slot: the first worker that leases has the system nudged again
    if more is due, and meanwhile the other systems' nudges are sent in between.
    """
    sent = 0
    if has_due_identities(runtime.stores):
        _send("expunge.identify", queue=SYSTEMS_QUEUE)
        sent += 1
    for system in due_systems(runtime.stores, runtime.settings, nudge_again_seconds=_NUDGE_AGAIN_SECONDS):
        _send("expunge.work_system", system.name, queue=queue_of(runtime.settings, system.connector))
        sent += 1
    return sent


def dispatch_syncs(runtime: WorkerContext) -> int:
    """Send one nudge for each system whose changes are to be read now. Returns how many were sent."""
    due = due_syncs(runtime.stores, runtime.settings, nudge_again_seconds=_SYNC_AGAIN_SECONDS)
    for system, connector in due:
        _send("expunge.sync_suppression", system, queue=queue_of(runtime.settings, connector))
    return len(due)


def _send(task: str, *args: str, queue: str) -> None:
    current_app.send_task(task, args=args, queue=queue, expires=MESSAGE_LIFE_SECONDS)
