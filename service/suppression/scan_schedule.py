"""Whose turn it is to read a system's changes: due times, leases and errors of the suppression sync, in SQL.

Decides that one process reads a system at a time and when the next one may. What was read is recorded elsewhere
(record_changes), under the same fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, func, text, update

from connectors.base.errors import LeaseLost
from service.domain.execution.states import ENDED
from service.settings import Settings
from service.store.arrays import listed
from service.store.interlock import gate_is_open
from service.store.stores import Stores
from service.store.tables.suppression import SuppressionSyncRow

LEASE_SECONDS = 120.0
"""Longer than a page takes; a process that dies leaves the system alone for so long."""

_FIRST = ""  # stands for the first page, which has no cursor
_HAS_ENDED = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(ENDED)))
_FREE = "(lease_until IS NULL OR lease_until <= clock_timestamp())"
_DUE = text(
    "WITH due AS MATERIALIZED (SELECT u.system, y.connector FROM suppression_syncs u"  # noqa: S608 - our own words
    " JOIN systems y ON y.name = u.system WHERE y.state = 'active' AND y.name = ANY(CAST(:names AS text[]))"
    " AND (y.rest_until IS NULL OR y.rest_until <= clock_timestamp())"
    " AND (u.nudged_at IS NULL OR u.nudged_at < clock_timestamp() - make_interval(secs => :again))"
    f" AND u.due_at <= clock_timestamp() AND {_FREE} ORDER BY u.system FOR NO KEY UPDATE OF u SKIP LOCKED)"
    " UPDATE suppression_syncs u SET nudged_at = clock_timestamp() FROM due WHERE u.system = due.system"
    " RETURNING u.system, due.connector"
)
_LEASE = text(
    "UPDATE suppression_syncs SET fence = fence + 1, lease_until = clock_timestamp() + make_interval(secs => :lease)"  # noqa: S608 - our own words
    " WHERE system IN (SELECT system FROM suppression_syncs WHERE system = :system AND due_at <= clock_timestamp()"
    f" AND {_FREE} FOR NO KEY UPDATE SKIP LOCKED) RETURNING fence, cursor, tries"
)
# Nobody re-appears before somebody was erased. Asked for once per system: the first page leaves a cursor.
_BEGIN_AT = text(
    "SELECT coalesce((SELECT min(added_at) FROM suppression_entries WHERE removed_at IS NULL), clock_timestamp())"
)
_OVER = text(
    "SELECT w.cursor, array_agg(w.request_id) AS requests FROM suppression_waits w"  # noqa: S608 - our own words
    " JOIN requests r ON r.id = w.request_id WHERE w.system = :system AND r.state NOT IN ('open', 'in_progress')"
    " AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.request_id = w.request_id AND s.system = :system"
    f" AND NOT s.{_HAS_ENDED}) GROUP BY w.cursor ORDER BY w.cursor LIMIT :n"
)


@dataclass(frozen=True)
class LeasedSync:
    """A system's sync that is ours until the lease ends; `tries` counts the errors in a row until now."""

    system: str
    fence: int
    cursor: str | None
    begin_at: datetime
    tries: int

    def at(self, cursor: str) -> LeasedSync:
        """The same lease, one page on."""
        return replace(self, cursor=cursor, tries=0)


@dataclass(frozen=True)
class Waited:
    """A page to be read once more: the requests for whose end it waited have ended. The first one has no cursor."""

    cursor: str | None
    begin_at: datetime
    requests: tuple[UUID, ...]


def due_syncs(stores: Stores, settings: Settings, *, nudge_again_seconds: float) -> list[tuple[str, str]]:
    """Systems to read now that weren't nudged just now, each with its connector; they are marked as nudged.

    None while the sync is switched off.
    """
    if not settings.suppression.sync_interval_seconds:
        return []
    with stores.engine.begin() as connection:
        names = [system.config.name for system in settings.systems]
        rows = connection.execute(_DUE, {"names": names, "again": nudge_again_seconds})
        return [(row.system, row.connector) for row in rows]


def lease_sync(stores: Stores, system: str, *, admission: UUID | None = None) -> LeasedSync | None:
    """Lease one; None if it isn't due, somebody else reads it, or the gate is shut (see lease_steps)."""
    with stores.engine.begin() as connection:
        if not gate_is_open(connection, admission):
            return None
        row = connection.execute(_LEASE, {"system": system, "lease": LEASE_SECONDS}).one_or_none()
        if row is None:
            return None
        begin_at = _begin_at(connection, is_asked_for=row.cursor is None)
    return LeasedSync(system, row.fence, row.cursor, begin_at, row.tries)


def waits_that_are_over(stores: Stores, system: str, *, limit: int) -> list[Waited]:
    """Pages to read once more."""
    with stores.engine.begin() as connection:
        rows = connection.execute(_OVER, {"system": system, "n": limit}).all()
        begin_at = _begin_at(connection, is_asked_for=any(row.cursor == _FIRST for row in rows))
    return [Waited(None if row.cursor == _FIRST else row.cursor, begin_at, tuple(row.requests)) for row in rows]


def wait_for(connection: Connection, system: str, cursor: str | None, requests: Iterable[UUID]) -> None:
    """The page at `cursor` (None: the first) is to be read again when these requests have ended."""
    connection.execute(
        text(
            "INSERT INTO suppression_waits (system, request_id, cursor)"
            " SELECT :system, id, :cursor FROM unnest(CAST(:ids AS uuid[])) AS n(id) ON CONFLICT DO NOTHING"
        ),
        {"system": system, "cursor": _FIRST if cursor is None else cursor, "ids": listed(sorted(requests))},
    )


def end_wait(connection: Connection, system: str, waited: Waited) -> None:
    """That page was read again."""
    connection.execute(
        text(
            "DELETE FROM suppression_waits WHERE system = :system AND cursor = :cursor"
            " AND request_id = ANY(CAST(:ids AS uuid[]))"
        ),
        {
            "system": system,
            "cursor": _FIRST if waited.cursor is None else waited.cursor,
            "ids": listed(waited.requests),
        },
    )


def _begin_at(connection: Connection, *, is_asked_for: bool) -> datetime:
    asked = _BEGIN_AT if is_asked_for else text("SELECT clock_timestamp()")
    found: datetime = connection.execute(asked).scalar_one()
    return found


def advance_sync(
    connection: Connection, sync: LeasedSync, *, cursor: str | None, due_in_seconds: float | None, found: int
) -> None:
    """A page was read and what it showed is recorded, in the caller's transaction. Raises LeaseLost.

    Without `cursor` the sync stays where it is, and without `due_in_seconds` it is due when it was.
    """
    done = connection.execute(
        text(
            "UPDATE suppression_syncs SET cursor = coalesce(:cursor, cursor), last_success_at = clock_timestamp(),"
            " due_at = CASE WHEN CAST(:due AS float8) IS NULL THEN due_at"
            " ELSE clock_timestamp() + make_interval(secs => CAST(:due AS float8)) END,"
            " lease_until = clock_timestamp() + make_interval(secs => :lease), last_error = NULL, tries = 0,"
            " found = found + :found"
            " WHERE system = :system AND fence = :fence AND lease_until > clock_timestamp()"
        ),
        {
            "cursor": cursor,
            "due": due_in_seconds,
            "lease": LEASE_SECONDS,
            "found": found,
            "system": sync.system,
            "fence": sync.fence,
        },
    )
    if not done.rowcount:
        raise LeaseLost


def give_back_sync(stores: Stores, sync: LeasedSync) -> None:
    """Whoever comes next may have it."""
    with stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE suppression_syncs SET lease_until = NULL, nudged_at = NULL"
                " WHERE system = :system AND fence = :fence"
            ),
            {"system": sync.system, "fence": sync.fence},
        )


def postpone_sync(stores: Stores, sync: LeasedSync, *, seconds: float, error: str | None) -> None:
    """It couldn't be read: again in so many seconds. The cursor stays; `error` is a code of ours, None for none."""
    with stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE suppression_syncs SET lease_until = NULL, nudged_at = NULL,"
                " last_error = coalesce(:error, last_error),"
                " tries = tries + CASE WHEN CAST(:error AS text) IS NULL THEN 0 ELSE 1 END,"
                " due_at = clock_timestamp() + make_interval(secs => :seconds)"
                " WHERE system = :system AND fence = :fence"
            ),
            {"error": error, "seconds": seconds, "system": sync.system, "fence": sync.fence},
        )


def keep_syncs(connection: Connection, settings: Settings, systems: Sequence[str]) -> None:
    """Rows for these systems, which tell their changes; none while the sync is switched off.

    Whoever switches it on again reads from the list's first entry on: what happened meanwhile is found, too.
    """
    if not settings.suppression.sync_interval_seconds:
        connection.execute(text("DELETE FROM suppression_syncs"))
        return
    connection.execute(
        text("INSERT INTO suppression_syncs (system) SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING"),
        {"names": list(systems)},
    )
    # The stored time was made with the interval of that day; a shorter one counts at once. What failed waits as told.
    every = timedelta(seconds=settings.suppression.sync_interval_seconds)
    read_at = func.coalesce(SuppressionSyncRow.last_success_at, func.clock_timestamp())
    connection.execute(
        update(SuppressionSyncRow)
        .where(SuppressionSyncRow.tries == 0)
        .values(due_at=func.least(SuppressionSyncRow.due_at, read_at + every))
    )


def begin_sync_anew(connection: Connection, system: str) -> None:
    """Another configuration may lead to another account, or have other fields: what was read counts no more."""
    connection.execute(
        text("UPDATE suppression_syncs SET cursor = NULL, due_at = clock_timestamp() WHERE system = :system"),
        {"system": system},
    )
