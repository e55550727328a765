"""Settle who a request is about: lease it, let the caller walk the identity graph, record the cluster.

Decides what happens with doubts, with people who have an open request already, and where a step per system begins.
The graph is asked between the two transactions, never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.values import Identifier
from service.domain.cluster import Cluster, Person, Seed
from service.domain.request import Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, log_changes
from service.storage.import_gate import REQUEST_GOES_ON
from service.storage.key_store import request_owner
from service.storage.rows import check_again, database_now, version_of
from service.storage.sealed_identifiers import StoredIdentifier, read_identifiers
from service.storage.stores import Stores
from service.storage.vendor_gate import gate_is_open
from service.use_cases.open_steps import active_systems
from service.use_cases.pick_identities import pick_identities
from service.use_cases.place_cluster import place_cluster, write_placements
from service.use_cases.settle_together import settle_together
from service.use_cases.start_requests import start_requests

log = structlog.get_logger(__name__)

_SETTLE_LOCK = 0x53544C45  # settling is short and one at a time: two requests of one person must see each other
_NOBODY = "no_identifier_left"
_NO_SYSTEM = "no_system_connected"
_MEETS = "meets_open_request"
_WAIT_FOR_EARLIER = timedelta(seconds=1)


@dataclass(frozen=True)
class _Met:
    """An unfinished request with common identifiers. `covers`: all of ours are its own, so ours repeats it."""

    request_id: UUID
    common: list[Identifier]
    covers: bool
    is_being_settled: bool


@dataclass(frozen=True)
class LeasedIdentity:
    """A request whose person is to be found: what to walk from, and the lease under which to record."""

    request_id: UUID
    fence: int
    tries: int
    respond_by: datetime
    person: Person[UUID]

    def time_left(self, now: datetime) -> timedelta:
        """Until the request must be answered; negative when it is overdue."""
        return self.respond_by - now


def lease_identities(
    stores: Stores, settings: Settings, *, limit: int, admission: UUID | None = None
) -> list[LeasedIdentity]:
    """Lease due requests for a walk; none while the gate is shut (see lease_steps)."""
    with stores.engine.begin() as connection:
        if not gate_is_open(connection, admission):
            return []
        leased = connection.execute(
            text(
                "UPDATE requests SET lease_until = clock_timestamp() + make_interval(secs => :lease),"
                " fence = fence + 1, tries = tries + 1 WHERE id IN ("
                " SELECT id FROM requests WHERE id = ANY(CAST(:ids AS uuid[])) AND duty = 'identify'"
                " AND due_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until < clock_timestamp())"
                " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
                " RETURNING id, fence, tries, respond_by, created_at"
            ),
            {"lease": settings.engine.lease_seconds * 4, "ids": pick_identities(connection, limit)},
        ).all()
    # The earlier first: a later request of the same person then meets one that is settled.
    leased = sorted(leased, key=lambda row: (row.created_at, row.id))
    ids = [row.id for row in leased]
    keys = stores.keys.get([request_owner(i) for i in ids])
    with stores.engine.begin() as connection:
        identifiers = read_identifiers(connection, ids, keys)
    return [
        LeasedIdentity(row.id, row.fence, row.tries, row.respond_by, _person(row.id, identifiers[row.id]))
        for row in leased
    ]


def _person(request_id: UUID, rows: Sequence[StoredIdentifier]) -> Person[UUID]:
    opened = [(row, row.identifier) for row in rows if row.identifier is not None]
    return Person(
        ref=request_id,
        seeds=tuple(
            Seed(identifier, row.verification_method is not None)
            for row, identifier in opened
            if row.origin == "submitted" and row.use != "dropped"
        ),
        dropped=frozenset(identifier for row, identifier in opened if row.use == "dropped"),
    )


def postpone_identities(stores: Stores, leased: Sequence[LeasedIdentity], due_at: datetime) -> None:
    """The graph could not be asked: try again at `due_at`. The leases are given back."""
    with stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE requests SET due_at = :due, lease_until = NULL FROM unnest(CAST(:ids AS uuid[]),"
                " CAST(:fences AS integer[])) AS n(id, fence)"
                " WHERE requests.id = n.id AND requests.fence = n.fence AND duty = 'identify'"
            ),
            {"due": due_at, "ids": [i.request_id for i in leased], "fences": [i.fence for i in leased]},
        )


def record_identities(
    stores: Stores, settings: Settings, leased: Sequence[LeasedIdentity], clusters: Mapping[UUID, Cluster]
) -> None:
    """Record the clusters: the plain ones in one transaction, the others in one each.

    A lease that was lost meanwhile records nothing; a request that can't be recorded doesn't keep the others from it.
    """
    keys = stores.keys.get([request_owner(i.request_id) for i in leased])
    # Sealed or withdrawn meanwhile without a key: nothing is owed any more.
    items = [item for item in leased if request_owner(item.request_id) in keys]
    done: frozenset[UUID] = frozenset()
    with _surviving("settled_one_by_one"):
        with stores.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETTLE_LOCK})
            people = [(item.fence, item.person) for item in items]
            plain = settle_together(connection, stores, settings, people, clusters, keys)
        # Only what is committed is done. If the commit itself fails nobody knows: then the rows' duties tell.
        done = plain
    for item in items:
        if item.request_id not in done:
            with _surviving("request_not_settled"):
                _record_alone(stores, settings, item, clusters[item.request_id], keys[request_owner(item.request_id)])


@contextmanager
def _surviving(event: str) -> Iterator[None]:
    """What can't be recorded now becomes due again when its lease ends."""
    try:
        yield
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.exception(event, error=type(error).__name__)


def _record_alone(stores: Stores, settings: Settings, item: LeasedIdentity, cluster: Cluster, key: bytes) -> None:
    with stores.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETTLE_LOCK})
        row = connection.execute(
            text("SELECT * FROM requests WHERE id = :id AND fence = :fence AND duty = 'identify' FOR NO KEY UPDATE"),
            {"id": item.request_id, "fence": item.fence},
        ).one_or_none()
        if row is not None:
            _Settling(connection, stores, settings, row, key).settle(item.person, cluster)


class _Settling:
    """One request being settled, inside one transaction."""

    def __init__(self, connection: Connection, stores: Stores, settings: Settings, row: Row[Any], key: bytes) -> None:
        self.connection = connection
        self.stores = stores
        self.settings = settings
        self.row = row
        self.key = key
        self.now = database_now(connection)

    def settle(self, person: Person[UUID], cluster: Cluster) -> None:
        """Store the cluster and decide where the request goes."""
        if not any(seed.verified for seed in person.seeds):
            self._set_aside(Progress.NEED_USER_VERIFICATION, [], "request_in_progress")
            return
        ids = self._store(cluster)
        doubts = self._doubts(cluster, ids)
        if not cluster.members:
            # Everything submitted was dropped or barred: there is nobody to look for, and that is no success.
            doubts = [{"reason": _NOBODY, "identifiers": [], "sources": []}]
            self._set_aside(Progress.NEEDS_REVIEW, doubts, "review_opened")
            return
        met = self._meets_open_request(cluster)
        if met is not None and met.covers:
            self._link(met.request_id)
            return
        if met is not None and met.is_being_settled:
            # Nobody knows yet whether the earlier one is about the same person: ask again when it does.
            self._postpone()
            return
        if met is not None:
            common = [str(ids[i]) for i in met.common]
            doubts.append({"reason": _MEETS, "identifiers": common, "request": str(met.request_id)})
        seen = {_sign(d) for d in self.row.doubts} if self.row.identity_reviewed else set()
        fresh = [d for d in doubts if _sign(d) not in seen]
        if fresh:
            self._set_aside(Progress.NEEDS_REVIEW, doubts, "review_opened")
            return
        self._start(cluster)

    def _store(self, cluster: Cluster) -> Mapping[Identifier, UUID]:
        """Rows for every member and every spelling; submitted rows that aren't members say why."""
        known = read_identifiers(self.connection, [self.row.id], {request_owner(self.row.id): self.key})[self.row.id]
        placement = place_cluster(self.stores.pepper, self.settings, self.row.id, self.key, known, cluster)
        write_placements(self.connection, [placement])
        return placement.ids

    def _doubts(self, cluster: Cluster, ids: Mapping[Identifier, UUID]) -> list[dict[str, Any]]:
        return [
            {
                "reason": doubt.reason.value,
                "identifiers": sorted(str(ids[i]) for i in doubt.identifiers if i in ids),
                "sources": sorted(doubt.sources),
            }
            for doubt in cluster.doubts
        ]

    def _postpone(self) -> None:
        self.connection.execute(
            text("UPDATE requests SET due_at = :due, lease_until = NULL WHERE id = :id"),
            {"due": self.now + _WAIT_FOR_EARLIER, "id": self.row.id},
        )

    def _meets_open_request(self, cluster: Cluster) -> _Met | None:
        """An unfinished request with a common identifier, one that covers this one before any other. One that isn't
        settled yet counts if it is earlier, and by what was verified there: an unverified request starts nothing, so
        nobody may wait for it. Nor for one whose import rests: that one will meet this one when it goes on."""
        by_hash = {self.stores.pepper.of_identifier(member): member for member in cluster.members}
        rows = self.connection.execute(
            text(
                "SELECT i.request_id, r.duty, array_agg(i.keyed_hash) AS hashes FROM identifiers i"  # noqa: S608 - our own words
                " JOIN requests r ON r.id = i.request_id"
                " WHERE i.keyed_hash = ANY(CAST(:hashes AS bytea[])) AND i.use IN ('planned', 'pending')"
                " AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL AND r.id <> :id"
                " AND (r.located_until IS NOT NULL OR ((r.created_at, r.id) < (:created, :id)"
                f" AND (i.verification_method IS NOT NULL OR i.origin = 'graph'))) AND {REQUEST_GOES_ON}"
                " GROUP BY i.request_id, r.duty, r.created_at ORDER BY r.created_at, i.request_id"
            ),
            {"hashes": list(by_hash), "id": self.row.id, "created": self.row.created_at},
        ).all()
        met = []
        for row in rows:
            hashes = {bytes(h) for h in row.hashes}
            common = sorted(by_hash[h] for h in hashes)
            met.append(_Met(row.request_id, common, hashes >= set(by_hash), row.duty == Duty.IDENTIFY))
        return min(met, key=lambda one: (not one.covers, not one.is_being_settled), default=None)

    def _link(self, other: UUID) -> None:
        self.connection.execute(
            text(
                "UPDATE requests SET state = :state, reason = :reason, linked_to = :other, duty = NULL, due_at = NULL,"
                " lease_until = NULL, doubts = '[]', identity_reviewed = false WHERE id = :id"
            ),
            {"state": RequestState.IN_PROGRESS, "reason": Progress.LINKED, "other": other, "id": self.row.id},
        )
        self._log("request_linked", {"to": str(other)})
        # The other may have ended between our two readings of it.
        check_again(self.connection, [other])

    def _set_aside(self, reason: Progress, doubts: list[dict[str, Any]], event: str) -> None:
        """Nothing starts before a human spoke (or the requester verified)."""
        self.connection.execute(
            text(
                "UPDATE requests SET state = 'in_progress', reason = :reason, duty = NULL, due_at = NULL,"
                " lease_until = NULL, doubts = :doubts, identity_reviewed = false WHERE id = :id"
            ).bindparams(bindparam("doubts", type_=JSONB)),
            {"reason": reason, "doubts": doubts, "id": self.row.id},
        )
        data = {"reasons": sorted({d["reason"] for d in doubts})} if event == "review_opened" else {"reason": reason}
        self._log(event, data)

    def _start(self, cluster: Cluster) -> None:
        systems = active_systems(self.connection, self.settings)
        if not systems:
            # Nobody would do anything: calling that fulfilled would be a lie. A review settles it again later.
            doubts = [{"reason": _NO_SYSTEM, "identifiers": [], "sources": []}]
            self._set_aside(Progress.NEEDS_REVIEW, doubts, "review_opened")
            return
        start_requests(self.connection, self.settings, [(self.row, cluster)], systems, self.now)

    def _change(self, event: str, data: Mapping[str, Any]) -> Change:
        return Change("request", str(self.row.id), version_of(self.row), event, self.row.subject, data)

    def _log(self, event: str, data: Mapping[str, Any]) -> None:
        log_changes(self.connection, [self._change(event, data)], actor="worker", at=self.now)


def _sign(doubt: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    return doubt["reason"], tuple(sorted(doubt["identifiers"]))
