"""Decide when a system's changes are scanned: due times, leases and errors of the suppression sync.

One worker scans a system at a time. `match_changes` records the results of a page under the same fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.errors import LeaseLost
from service.settings import Settings
from service.store import interlock
from service.store.locking import database_now
from service.store.stores import Stores
from service.suppression import sync_store
from service.suppression.sync_store import WaitedPage

LEASE = timedelta(seconds=120)
"""A page takes less. A system whose worker died is scanned again after this time."""


@dataclass(frozen=True)
class LeasedSync:
    """A leased sync, whose first page begins at `begin_at`."""

    system: str
    fence: int
    cursor: str | None
    begin_at: datetime
    consecutive_errors: int

    def at(self, cursor: str) -> LeasedSync:
        """The same lease, one page on."""
        return replace(self, cursor=cursor, consecutive_errors=0)


@dataclass(frozen=True)
class Waited:
    """A page to be read again after the end of the awaited requests; `cursor` None: the first page."""

    cursor: str | None
    begin_at: datetime
    requests: tuple[UUID, ...]


def due_syncs(stores: Stores, settings: Settings, *, nudge_again_seconds: float) -> list[tuple[str, str]]:
    """Return the due systems with their connectors, and note that a worker is woken for them.

    Systems for which a worker was woken within `nudge_again_seconds` are left out; none is due while scans are off.
    """
    if not settings.suppression.sync_interval_seconds:
        return []
    names = [system.config.name for system in settings.systems]
    with stores.engine.begin() as connection:
        return sync_store.mark_due_syncs(connection, names, again_after=timedelta(seconds=nudge_again_seconds))


def lease_sync(stores: Stores, system: str, *, admission: UUID | None = None) -> LeasedSync | None:
    """Lease a system's sync; None if it isn't due or is leased, or the interlock is engaged."""
    with stores.engine.begin() as connection:
        if interlock.is_engaged(connection, admission):
            return None
        leased = sync_store.lease_due_sync(connection, system, LEASE)
        if leased is None:
            return None
        begin_at = _begin_at(connection, is_needed=leased.cursor is None)
    return LeasedSync(system, leased.fence, leased.cursor, begin_at, leased.consecutive_errors)


def waits_that_are_over(stores: Stores, system: str, *, limit: int) -> list[Waited]:
    """Return at most `limit` pages to be read again."""
    with stores.engine.begin() as connection:
        pages = sync_store.pages_to_read_again(connection, system, limit=limit)
        begin_at = _begin_at(connection, is_needed=any(page.cursor is None for page in pages))
    return [Waited(page.cursor, begin_at, page.requests) for page in pages]


def wait_for(connection: Connection, system: str, cursor: str | None, requests: Iterable[UUID]) -> None:
    """Have the page at `cursor` (None: the first) read again after these requests have ended."""
    sync_store.insert_waits(connection, system, cursor, requests)


def end_wait(connection: Connection, system: str, waited: Waited) -> None:
    """Forget the waits of a page, because it was read again."""
    sync_store.delete_waits(connection, system, WaitedPage(waited.cursor, waited.requests))


def _begin_at(connection: Connection, *, is_needed: bool) -> datetime:
    # No person re-appears before the first erasure. The list is read once per system: the first page leaves a cursor.
    return sync_store.first_entry_at(connection) if is_needed else database_now(connection)


def advance_sync(
    connection: Connection, sync: LeasedSync, *, cursor: str | None, due_in_seconds: float | None, found: int
) -> None:
    """Record that a page was read, in the caller's transaction, and renew the lease. Raises LeaseLost.

    Without `cursor` the sync's position stays, without `due_in_seconds` its due time.
    """
    due_in = None if due_in_seconds is None else timedelta(seconds=due_in_seconds)
    if not sync_store.advance(
        connection, sync.system, sync.fence, cursor=cursor, due_in=due_in, length=LEASE, found=found
    ):
        raise LeaseLost


def give_back_sync(stores: Stores, sync: LeasedSync) -> None:
    """End the lease, so that the next worker may take it at once."""
    with stores.engine.begin() as connection:
        sync_store.end_lease(connection, sync.system, sync.fence)


def postpone_sync(stores: Stores, sync: LeasedSync, *, seconds: float, error: str | None) -> None:
    """End the lease and scan again in so many seconds; `error` is a code, or None for no error."""
    with stores.engine.begin() as connection:
        sync_store.postpone(connection, sync.system, sync.fence, due_in=timedelta(seconds=seconds), error=error)


def keep_syncs(connection: Connection, settings: Settings, systems: Sequence[str]) -> None:
    """Keep a sync for each of these systems; none while scans are switched off.

    When scans are switched on again, they read from the list's first entry on, so that later changes are found, too.
    """
    if not settings.suppression.sync_interval_seconds:
        sync_store.delete_syncs(connection)
        return
    # A stored due time was made with an earlier interval; a shorter interval counts at once. A failed sync's stays.
    sync_store.ensure_syncs(connection, systems, timedelta(seconds=settings.suppression.sync_interval_seconds))


def begin_sync_anew(connection: Connection, system: str) -> None:
    """Read a system's changes from the beginning.

    Its new configuration may name another account or other fields.
    """
    sync_store.restart_sync(connection, system)
