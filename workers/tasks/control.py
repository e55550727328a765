"""Tasks that beat wakes: look in SQL for what is due and pass it on. They speak to no system."""

from __future__ import annotations

import time

from celery import shared_task

from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.evidence_standing import signing_noted
from service.audit.sequence import CheckpointRule, sequence_audit
from service.encryption.rotate_epochs import rotate_epochs
from service.execution.archive_attempts import archive_attempts
from service.execution.due import requests_wait
from service.execution.expire_leases import sweep_leases, sweep_orphan_keys
from service.execution.worker_context import WorkerContext
from service.requests.deadlines import mark_overdue
from service.requests.holds.lift import expire_holds
from service.requests.imports.complete import complete_imports
from service.requests.imports.control import revoke_cancelled
from service.requests.planning.advance import advance_requests
from service.requests.seal import seal_due_requests
from workers.dispatch import dispatch_due, dispatch_syncs
from workers.intervals import MESSAGE_SECONDS
from workers.runtime import runtime

# A longer round of one part keeps the other part waiting; the next tick goes on.
_STAY_SECONDS = 1.0
# Shorter than the time that a stopping worker is given.
_SEQUENCE_SECONDS = 5.0


@shared_task(name="expunge.tick")
def tick() -> None:
    """Look for what is due, every `tick_seconds` until the next message comes.

    A message costs more than a look. With a tick below `MESSAGE_SECONDS` one message therefore serves several looks.
    """
    opened = runtime()
    every = opened.settings.engine.tick_seconds
    until = time.monotonic() + MESSAGE_SECONDS
    while True:
        look(opened)
        if time.monotonic() + every >= until:
            return
        time.sleep(every)


def look(opened: WorkerContext) -> None:
    """Wake workers for what is due, then advance requests: two parts, each in its turn."""
    try:
        dispatch_due(opened)
    finally:
        if requests_wait(opened.stores):
            advance(opened)


def advance(opened: WorkerContext) -> None:
    """Advance requests whose steps moved on, until none is left or the next tick's nudges wait too long."""
    until = time.monotonic() + _STAY_SECONDS
    while advance_requests(opened.stores, opened.settings) and time.monotonic() < until:
        pass


@shared_task(name="expunge.sweep")
def sweep() -> int:
    """Free the steps that dead processes left leased.

    Revokes cancelled imports' open requests, and completes imports.
    """
    stores = runtime().stores
    return sweep_leases(stores) + revoke_cancelled(stores) + complete_imports(stores)


@shared_task(name="expunge.seal")
def seal() -> int:
    """Seal requests whose keys' retention is over."""
    return seal_due_requests(runtime().stores)


@shared_task(name="expunge.watch")
def watch() -> int:
    """Mark what is overdue; lift holds whose time is over."""
    opened = runtime()
    return mark_overdue(opened.stores) + expire_holds(opened.stores, opened.clock.now())


@shared_task(name="expunge.sync_due")
def sync_due() -> int:
    """Nudge for the systems whose changes are to be read now."""
    return dispatch_syncs(runtime())


@shared_task(name="expunge.sweep_orphan_keys")
def orphan_keys() -> int:
    """Destroy keys of submissions that never committed."""
    return sweep_orphan_keys(runtime().stores)


@shared_task(name="expunge.rotate_epochs")
def rotate() -> int:
    """Begin the next encryption epoch when it is due, and destroy the keys of those that are over."""
    opened = runtime()
    return rotate_epochs(opened.stores, opened.settings).destroyed


@shared_task(name="expunge.archive_attempts")
def archive() -> int:
    """Delete attempts that are past their retention."""
    opened = runtime()
    archived = 0
    while requests := archive_attempts(opened.stores, opened.settings):
        archived += requests
    return archived


@shared_task(name="expunge.sequence")
def sequence() -> int:
    """Move pending audit entries into the tree, and sign when a checkpoint is due.

    Entries that arrive faster wait for the next nudge.
    """
    opened = runtime()
    rule = CheckpointRule(after=opened.settings.seconds("checkpoint"))
    until = time.monotonic() + _SEQUENCE_SECONDS
    entries = 0
    with signing_noted(opened.stores.engine):
        while True:
            done = sequence_audit(opened.stores.engine, opened.signing_key(), rule=rule)
            entries += done.entries
            if not done.more or time.monotonic() >= until:
                return entries


@shared_task(name="expunge.anchor")
def anchor() -> int:
    """Publish the newest signed head outside. Returns to how many anchors."""
    opened = runtime()
    return len(anchor_checkpoint(opened.stores.engine, opened.signing_key(), opened.anchors()).published)
