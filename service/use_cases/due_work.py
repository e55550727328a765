"""What is due, as the dispatcher asks: which systems to nudge and how often. Reads rows; starts nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from service.storage.stores import Stores


@dataclass(frozen=True)
class DueSystem:
    """A system with due steps and a free call slot."""

    name: str
    connector: str


def due_systems(stores: Stores, *, nudge_again_seconds: float) -> list[DueSystem]:
    """Systems with due steps and free slots that aren't at rest and weren't nudged just now; they are marked as nudged.

    The cost grows with the number of systems, not of steps: each is asked by an index probe of one row.
    """
    with stores.engine.begin() as connection:
        rows = connection.execute(
            text(
                "UPDATE systems s SET nudged_at = clock_timestamp() FROM ("
                # One that is down is probed by one worker at a time.
                " SELECT y.name, CASE WHEN y.down_since IS NULL THEN y.max_concurrency ELSE 1 END"
                " - (SELECT count(*) FROM batches b WHERE b.system = y.name"
                " AND b.ended_at IS NULL AND b.lease_until > clock_timestamp()) AS free FROM systems y"
                " WHERE y.state = 'active' AND (y.rest_until IS NULL OR y.rest_until <= clock_timestamp())"
                " AND (y.nudged_at IS NULL OR y.nudged_at < clock_timestamp() - make_interval(secs => :again))"
                " AND EXISTS (SELECT 1 FROM steps t WHERE t.system = y.name AND t.state IN ('due', 'accepted')"
                " AND t.due_at <= clock_timestamp())) AS d"
                " WHERE s.name = d.name AND d.free > 0 RETURNING s.name, s.connector"
            ),
            {"again": nudge_again_seconds},
        ).all()
    return [DueSystem(row.name, row.connector) for row in rows]


def has_due_identities(stores: Stores) -> bool:
    """True if a request's person is still to be found."""
    with stores.engine.begin() as connection:
        found: bool = connection.execute(
            text(
                "SELECT EXISTS (SELECT 1 FROM requests WHERE duty = 'identify' AND due_at <= clock_timestamp()"
                " AND (lease_until IS NULL OR lease_until < clock_timestamp()))"
            )
        ).scalar_one()
    return found
