"""Sweep: what a dead process left leased becomes due again, whoever died and wherever.

The only mechanism that recovers lost work; everything else (acks_late, reject_on_worker_lost) only makes it quicker.
"""

from __future__ import annotations

from sqlalchemy import text

from service.domain.outcomes import Phase, StepState
from service.storage.changes import Change, log_changes
from service.storage.rows import database_now, version_of
from service.storage.stores import Stores


def sweep_leases(stores: Stores, *, limit: int = 200) -> int:
    """Give back expired leases: steps become due now, their fence grows, an effect counts as possible.

    Returns how many steps were freed.
    """
    with stores.engine.begin() as connection:
        batches = connection.execute(
            text(
                "UPDATE batches SET fence = fence + 1, lease_until = NULL WHERE id IN ("
                " SELECT id FROM batches WHERE ended_at IS NULL AND lease_until <= clock_timestamp()"
                " LIMIT :n FOR UPDATE SKIP LOCKED) RETURNING id"
            ),
            {"n": limit},
        ).all()
        if not batches:
            return 0
        steps = connection.execute(
            text(
                "SELECT s.*, r.subject FROM steps s JOIN requests r ON r.id = s.request_id"
                " WHERE s.batch_id = ANY(CAST(:ids AS uuid[])) AND s.state = 'leased' ORDER BY s.id FOR UPDATE OF s"
            ),
            {"ids": [row.id for row in batches]},
        ).all()
        now = database_now(connection)
        connection.execute(
            text(
                "UPDATE steps SET state = 'due', due_at = :now, reason = 'lease_expired',"
                " effect_possible = effect_possible OR phase = 'erase',"
                " batch_id = CASE WHEN phase IN ('suppress', 'erase') THEN batch_id END"
                " WHERE id = ANY(CAST(:ids AS uuid[]))"
            ),
            {"now": now, "ids": [s.id for s in steps]},
        )
        connection.execute(
            text(
                "UPDATE batches b SET ended_at = :now WHERE b.id = ANY(CAST(:ids AS uuid[]))"
                " AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.batch_id = b.id)"
            ),
            {"now": now, "ids": [row.id for row in batches]},
        )
        log_changes(
            connection,
            [
                Change(
                    "step",
                    str(s.id),
                    version_of(s),
                    "step_lease_expired",
                    s.subject,
                    {"phase": Phase(s.phase), "state": StepState.DUE, "reason": "lease_expired"},
                )
                for s in steps
            ],
            actor="worker",
            at=now,
        )
    return len(steps)


def sweep_orphan_keys(stores: Stores, *, older_than_seconds: float = 86400.0, limit: int = 500) -> int:
    """Destroy data keys that belong to no request or open batch: left by submissions that never committed.

    Only keys older than a day are looked at, so none is destroyed whose request is just being written.
    """
    owners = stores.keys.owners_older_than(older_than_seconds, limit)
    with stores.engine.begin() as connection:
        alive = connection.execute(
            text(
                "SELECT 'request/' || id FROM requests WHERE sealed_at IS NULL"
                " AND 'request/' || id = ANY(CAST(:owners AS text[]))"
                " UNION ALL SELECT 'batch/' || id FROM batches WHERE ended_at IS NULL"
                " AND 'batch/' || id = ANY(CAST(:owners AS text[]))"
            ),
            {"owners": owners},
        )
        kept = {row[0] for row in alive}
    orphans = [owner for owner in owners if owner not in kept]
    stores.keys.destroy(orphans)
    return len(orphans)
