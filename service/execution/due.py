"""Say which systems have due steps, and whether other systems wait for a worker.

Decides the order in which systems are woken. Doesn't decide which steps form a batch: `select` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from service.execution.select import is_leasable
from service.requests.records.store import pick_identities
from service.settings import Settings
from service.store.stores import Stores


@dataclass(frozen=True)
class DueSystem:
    """A system with due steps and a free call slot."""

    name: str
    connector: str


def due_systems(stores: Stores, settings: Settings, *, nudge_again_seconds: float) -> list[DueSystem]:
    """Systems in which a worker would get a batch, that aren't at rest and weren't nudged just now; they are marked as
    nudged.

    The cost grows with the number of systems, not of steps.
    """
    configured = [system.config.name for system in settings.systems]
    with stores.engine.begin() as connection:
        free = connection.execute(
            text(
                "SELECT y.name FROM systems y WHERE y.state = 'active' AND y.name = ANY(CAST(:names AS text[]))"
                " AND (y.nudged_at IS NULL OR y.nudged_at < clock_timestamp() - make_interval(secs => :again))"
                " AND (y.rest_until IS NULL OR y.rest_until <= clock_timestamp())"
                # One that is down is probed by one worker at a time.
                " AND CASE WHEN y.down_since IS NULL THEN y.max_concurrency ELSE 1 END >"
                " (SELECT count(*) FROM batches b WHERE b.system = y.name AND b.ended_at IS NULL"
                " AND b.lease_until > clock_timestamp()) ORDER BY y.position, y.name"
            ),
            {"again": nudge_again_seconds, "names": configured},
        ).scalars()
        due = [name for name in free.all() if is_leasable(connection, settings, name)]
        if not due:
            return []
        # Not one that somebody is leasing right now: the lease asks for the next nudge itself, and waiting for it here
        # took up to half of a tick.
        rows = connection.execute(
            text(
                "WITH locked AS MATERIALIZED (SELECT name FROM systems WHERE name = ANY(CAST(:names AS text[]))"
                " ORDER BY name FOR NO KEY UPDATE SKIP LOCKED)"
                " UPDATE systems s SET nudged_at = clock_timestamp() FROM locked WHERE s.name = locked.name"
                " RETURNING s.name, s.connector"
            ),
            {"names": due},
        ).all()
    connectors = {row.name: row.connector for row in rows}
    return [DueSystem(name, connectors[name]) for name in due if name in connectors]


def has_due_identities(stores: Stores) -> bool:
    """True if a request's person is still to be found."""
    with stores.engine.begin() as connection:
        return bool(pick_identities(connection, 1))


# By the oldest row, through the index: a plain EXISTS reads its way through all the rows that were just deleted.
_WAITING = text(
    "SELECT (SELECT id FROM request_checks WHERE look_at <= (SELECT clock_timestamp()) ORDER BY id LIMIT 1) IS NOT NULL"
    " OR EXISTS (SELECT 1 FROM requests"
    " WHERE duty = 'freeze' AND due_at <= (SELECT clock_timestamp()))"
)


def requests_wait(stores: Stores) -> bool:
    """True if a request is to be looked at now."""
    with stores.engine.begin() as connection:
        return bool(connection.execute(_WAITING).scalar_one())
