"""Give expired leases back: the steps of a dead worker become due again.

The only mechanism that recovers lost work; everything else (acks_late, reject_on_worker_lost) only makes it quicker.
Also parks steps of removed systems and ends batches without steps, because no lease will find them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Uuid, func, select

from connectors.base.transitions.states import EFFECT_PHASES, Phase
from service.domain.execution.bisect import MOST_DEATHS, REPEATED, halves
from service.domain.execution.events import LeaseExpired, SystemRemoved, WorkersCrashed
from service.execution.batches import ExpiredBatch, end_empty, expire_leases, open_batches, open_parts
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_due_of_removed, lock_leased_of, read_crashed
from service.requests.steps.rows import StoredStep
from service.store import interlock
from service.store.arrays import array_parameter, uuid_array
from service.store.encryption.key_store import batch_owner, request_owner
from service.store.execute import execute
from service.store.locking import database_now
from service.store.stores import Stores
from service.store.tables.requests import RequestRow


def sweep_leases(stores: Stores, *, limit: int = 200) -> int:
    """Give back expired leases: steps become due now, their fence grows, an effect counts as possible.

    A step that was alone while worker after worker crashed parks. Due steps of removed systems park, and batches
    without steps end, with the keys of their tokens. Return how many steps were freed or parked.
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
    steps = lock_leased_of(connection, [row.id for row in batches])
    now = database_now(connection)
    stays = _batches_after(connection, batches, steps)
    roots = {row.id for row in batches if row.root_id is not None}
    apply_event(
        connection,
        steps,
        lambda step: LeaseExpired(batch_was_split=step.batch_id in roots),
        actor="worker",
        at=now,
        batches=stays,
    )
    _park_killers(connection, steps, now)
    return len(steps)


def _park_killers(connection: Connection, steps: Sequence[StoredStep], now: datetime) -> None:
    """Park steps that were alone in the lease and with which worker after worker crashed.

    More attempts would only crash more workers.
    """
    leased = Counter(s.batch_id for s in steps)
    alone = [s.id for s in steps if s.consecutive_attempts >= MOST_DEATHS and leased[s.batch_id] == 1]
    if not alone:
        return
    killers = read_crashed(connection, alone, MOST_DEATHS)
    apply_event(connection, killers, WorkersCrashed(), actor="worker", at=now)


def _batches_after(
    connection: Connection, batches: Sequence[ExpiredBatch], steps: Sequence[StoredStep]
) -> dict[UUID, UUID]:
    """Return the batch in which each freed step stays.

    Effects go on under the same key and token (isolate_suspects chooses the steps that are leased together). Steps that
    are only looked at, and with which workers crashed several times, go into new batches of halves.
    """
    stays: dict[UUID, UUID] = {}
    for batch in batches:
        mine = [s for s in steps if s.batch_id == batch.id]
        suspects = [s.id for s in mine if s.consecutive_attempts >= REPEATED]
        if batch.phase in EFFECT_PHASES:
            stays |= {s.id: batch.id for s in mine}
        elif len(mine) > 1 and suspects:
            root = batch.root_id or batch.id
            stays |= open_parts(connection, batch.system, Phase(batch.phase), root, halves(suspects))
        elif batch.root_id is not None:
            stays |= {s.id: batch.id for s in mine}
    return stays


def _park_removed(connection: Connection, limit: int) -> int:
    """Park due steps of systems that aren't connected any more, because no worker would lease them.

    A lifted hold, a withdrawal, an expired lease or a request that was settled just then made them due.
    """
    steps = lock_due_of_removed(connection, limit)
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
    ids: dict[str, list[UUID]] = {"request": [], "batch": []}
    for owner in owners:
        kind, _, owner_id = owner.partition("/")
        if kind in ids:
            ids[kind].append(UUID(owner_id))
    with stores.engine.begin() as connection:
        requests = execute(connection, _UNSEALED, {"ids": uuid_array(ids["request"])}).scalars()
        kept = {request_owner(request_id) for request_id in requests}
        kept |= {batch_owner(batch_id) for batch_id in open_batches(connection, ids["batch"])}
    # An owner of another kind has rows that these statements don't read.
    return [owner for owner in owners if owner not in kept and owner.partition("/")[0] in ids]


_UNSEALED = select(RequestRow.id).where(
    RequestRow.id == func.any(array_parameter("ids", Uuid())), RequestRow.sealed_at.is_(None)
)
