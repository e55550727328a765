"""Sweep: what a dead process left leased becomes due again, whoever died and wherever.

The only mechanism that recovers lost work; everything else (acks_late, reject_on_worker_lost) only makes it quicker.
Also tidies what no lease will ever come by again: steps of removed systems, batches without steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from connectors.base.transitions.states import Phase
from service.domain.execution.bisect import MOST_DEATHS, REPEATED, halves
from service.domain.execution.events import LeaseExpired, SystemRemoved, WorkersCrashed
from service.execution.batches import ExpiredBatch, end_empty, expire_leases, open_parts
from service.requests.steps.move import apply_event
from service.store import interlock
from service.store.encryption.key_store import batch_owner
from service.store.locking import database_now
from service.store.stores import Stores


def sweep_leases(stores: Stores, *, limit: int = 200) -> int:
    """Give back expired leases: steps become due now, their fence grows, an effect counts as possible.

    Who kills every process alone parks. Steps of removed systems park wherever they came from, and batches that nobody
    is in any more end, with their tokens' keys. Returns how many steps were freed or parked.
    """
    with stores.engine.begin() as connection:
        freed = _free_expired(connection, limit)
        parked = _park_removed(connection, limit)
        ended = end_empty(connection, limit)
    stores.keys.destroy([batch_owner(batch_id) for batch_id in ended])
    return freed + parked


def _free_expired(connection: Connection, limit: int) -> int:
    batches = expire_leases(connection, limit)
    if not batches:
        return 0
    steps = connection.execute(
        text(
            "SELECT s.*, r.subject FROM steps s JOIN requests r ON r.id = s.request_id"
            " WHERE s.batch_id = ANY(CAST(:ids AS uuid[])) AND s.state = 'leased' ORDER BY s.id FOR NO KEY UPDATE OF s"
        ),
        {"ids": [row.id for row in batches]},
    ).all()
    now = database_now(connection)
    stays = _batches_after(connection, batches, steps)
    roots = {row.id for row in batches if row.root_id is not None}
    apply_event(
        connection,
        steps,
        lambda step: LeaseExpired(batch_was_split=step.batch_id in roots),
        actor="worker",
        at=now,
        subjects={s.request_id: s.subject for s in steps},
        batches=stays,
    )
    _park_killers(connection, steps, now)
    return len(steps)


def _park_killers(connection: Connection, steps: Sequence[Row[Any]], now: datetime) -> None:
    """Who was alone in the lease, and with whom process after process died: trying for ever would kill for ever."""
    leased = Counter(s.batch_id for s in steps)
    alone = [s.id for s in steps if s.consecutive_attempts >= MOST_DEATHS and leased[s.batch_id] == 1]
    if not alone:
        return
    killers = connection.execute(
        text(
            "SELECT s.* FROM steps s WHERE s.id = ANY(CAST(:ids AS uuid[]))"
            # Tries count every error in a row; only attempts without any answer tell of a process that died.
            " AND :most = (SELECT count(*) FROM (SELECT ended_at FROM attempts WHERE step_id = s.id"
            " ORDER BY number DESC LIMIT :most) AS last WHERE ended_at IS NULL)"
        ),
        {"ids": alone, "most": MOST_DEATHS},
    ).all()
    apply_event(connection, killers, WorkersCrashed(), actor="worker", at=now)


def _batches_after(
    connection: Connection, batches: Sequence[ExpiredBatch], steps: Sequence[Row[Any]]
) -> dict[UUID, UUID]:
    """Which batch each freed step stays in. Effects go on under the same key and token (isolate_suspects says who goes
    together). People who were looked at, and with whom a process died again and again, travel apart from the others, in
    ever smaller parts."""
    stays: dict[UUID, UUID] = {}
    for batch in batches:
        mine = [s for s in steps if s.batch_id == batch.id]
        suspects = [s.id for s in mine if s.consecutive_attempts >= REPEATED]
        if batch.phase in (Phase.SUPPRESS, Phase.ERASE):
            stays |= {s.id: batch.id for s in mine}
        elif len(mine) > 1 and suspects:
            root = batch.root_id or batch.id
            stays |= open_parts(connection, batch.system, Phase(batch.phase), root, halves(suspects))
        elif batch.root_id is not None:
            stays |= {s.id: batch.id for s in mine}
    return stays


def _park_removed(connection: Connection, limit: int) -> int:
    """Whatever made a step due in a system that isn't connected any more (a lifted hold, a withdrawal, an expired
    lease, a request that was settled just then): nobody leases it, so a human must know."""
    steps = connection.execute(
        text(
            # One half for each of the two indexes of due steps.
            "WITH due AS MATERIALIZED (SELECT d.id FROM systems y CROSS JOIN LATERAL ((SELECT id FROM steps"
            " WHERE system = y.name AND state IN ('due', 'accepted') AND batch_id IS NULL LIMIT :n)"
            " UNION ALL (SELECT id FROM steps WHERE system = y.name AND state IN ('due', 'accepted')"
            " AND batch_id IS NOT NULL LIMIT :n)) AS d WHERE y.state = 'removed' LIMIT :n),"
            " locked AS MATERIALIZED (SELECT s.* FROM steps s WHERE s.id IN (SELECT id FROM due)"
            " ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED)"
            " SELECT * FROM locked WHERE state IN ('due', 'accepted')"
        ),
        {"n": limit},
    ).all()
    apply_event(connection, steps, SystemRemoved(), actor="worker", at=database_now(connection))
    return len(steps)


def sweep_orphan_keys(stores: Stores, *, older_than_seconds: float = 86400.0, page: int = 500) -> int:
    """Destroy data keys that belong to no request or open batch: left by submissions that never committed.

    Only keys older than a day are looked at, so none is destroyed whose request is just being written. All of them,
    page by page: the oldest may belong to requests that take long. None while the store disagrees with an anchor: in a
    store that was restored from an older state, newer requests are missing and come back with a newer backup.
    """
    destroyed, after = 0, ""
    with stores.engine.begin() as connection:
        if interlock.is_engaged(connection):
            return 0
    while owners := stores.keys.owners_older_than(older_than_seconds, page, after=after):
        after = owners[-1]
        orphans = _without_owner(stores, owners)
        stores.keys.destroy(orphans)
        destroyed += len(orphans)
    return destroyed


def _without_owner(stores: Stores, owners: Sequence[str]) -> list[str]:
    kinds: dict[str, list[str]] = {"request": [], "batch": []}
    for owner in owners:
        kind, _, owner_id = owner.partition("/")
        if kind in kinds:
            kinds[kind].append(owner_id)
    with stores.engine.begin() as connection:
        alive = connection.execute(
            text(
                "SELECT 'request/' || id FROM requests WHERE sealed_at IS NULL AND id = ANY(CAST(:requests AS uuid[]))"
                " UNION ALL SELECT 'batch/' || id FROM batches WHERE ended_at IS NULL"
                " AND id = ANY(CAST(:batches AS uuid[]))"
            ),
            {"requests": kinds["request"], "batches": kinds["batch"]},
        )
        kept = {row[0] for row in alive}
    # An owner of another kind has rows that this statement doesn't know.
    return [owner for owner in owners if owner not in kept and owner.partition("/")[0] in kinds]
