"""Tasks that call systems and the warehouse. A nudge says where work may be; the rows decide."""

from __future__ import annotations

import time

from celery import shared_task

from service.execution.resolve_identities import walk
from service.execution.run_batch import run_batch
from service.requests.identity.resolve import lease_identities
from workers.runtime import runtime
from workers.scan_changes import sync_system

# A nudged worker goes on with the same system for this long before it gives its place to another system: with few
# workers, staying longer makes the others wait.
_STAY_SECONDS = 2.0
_PEOPLE_PER_WALK = 200


@shared_task(name="expunge.work_system")
def work_system(system: str) -> int:
    """Work off due batches of one system. Returns how many."""
    opened = runtime()
    until = time.monotonic() + _STAY_SECONDS
    batches = 0
    admission = opened.admission()
    if admission is None:
        return 0
    while time.monotonic() < until:
        if not run_batch(opened, system, admission):
            break
        batches += 1
    return batches


@shared_task(name="expunge.sync_suppression")
def sync_suppression(system: str) -> int:
    """Read what changed in one system. Returns how many re-appeared."""
    opened = runtime()
    admission = opened.admission()
    if admission is None:
        return 0
    return sync_system(opened, system, admission=admission, stay_seconds=_STAY_SECONDS)


@shared_task(name="expunge.identify")
def identify() -> int:
    """Find the people of due requests. Returns how many requests were walked."""
    opened = runtime()
    admission = opened.admission()
    if admission is None:
        return 0
    leased = lease_identities(opened.stores, opened.settings, limit=_PEOPLE_PER_WALK, admission=admission)
    if leased:
        walk(opened, leased)
    return len(leased)
