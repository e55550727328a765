"""Settle who a request is about: lease it, let the caller walk the identity graph, record the cluster.

Decides what happens with doubts, with people who have an open request already, and where a step per system begins.
The graph is asked between the two transactions, never inside one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from connectors.base.values import Identifier
from service.domain.cluster import Cluster, Person, Seed
from service.domain.fairness import SINGLE_LANE
from service.domain.normalisation import InvalidIdentifier, normalise
from service.domain.outcomes import Phase, StepState
from service.domain.request import Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, Version, log_changes
from service.storage.key_store import request_owner
from service.storage.rows import check_again, database_now, version_of
from service.storage.sealed_identifiers import StoredIdentifier, read_identifiers, seal_identifier
from service.storage.stores import Stores
from service.storage.vendor_gate import gate_is_open

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
                " SELECT id FROM requests WHERE duty = 'identify' AND due_at <= clock_timestamp()"
                " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
                " ORDER BY respond_by LIMIT :n FOR NO KEY UPDATE SKIP LOCKED)"
                " RETURNING id, fence, tries, respond_by, created_at"
            ),
            {"lease": settings.engine.lease_seconds * 4, "n": limit},
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
    """Record the clusters, one transaction each; a lease that was lost meanwhile records nothing."""
    keys = stores.keys.get([request_owner(i.request_id) for i in leased])
    for item in leased:
        key = keys.get(request_owner(item.request_id))
        if key is None:
            continue  # sealed or withdrawn meanwhile: nothing is owed any more
        with stores.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETTLE_LOCK})
            row = connection.execute(
                text(
                    "SELECT * FROM requests WHERE id = :id AND fence = :fence AND duty = 'identify' FOR NO KEY UPDATE"
                ),
                {"id": item.request_id, "fence": item.fence},
            ).one_or_none()
            if row is not None:
                _Settling(connection, stores, settings, row, key).settle(item.person, clusters[item.request_id])


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

    def _store(self, cluster: Cluster) -> dict[Identifier, UUID]:
        """Rows for every member and every spelling; submitted rows that aren't members say why."""
        known = read_identifiers(self.connection, [self.row.id], {request_owner(self.row.id): self.key})[self.row.id]
        by_value = {row.identifier: row for row in known if row.identifier is not None}
        ids: dict[Identifier, UUID] = {}
        fresh: list[tuple[UUID, Identifier, bytes]] = []
        for member in sorted(cluster.members):
            keyed_hash = self.stores.pepper.of_identifier(member)
            for form in [member, *sorted(cluster.spellings.get(member, frozenset()) - {member})]:
                if form in by_value:
                    ids.setdefault(member, by_value[form].id)
                else:
                    row_id = uuid4()
                    ids.setdefault(member, row_id)
                    fresh.append((row_id, form, keyed_hash))
        self._insert(fresh)
        members = {row.id for row in known if row.identifier in cluster.members or self._spells(row, cluster)}
        kept = members - {row.id for row in known if row.use == "dropped"}
        reasons = {
            row.id: self._exclusion(row, cluster) for row in known if row.id not in kept and row.use != "dropped"
        }
        self._mark(kept, reasons)
        for row in known:
            if row.identifier is not None:
                ids.setdefault(row.identifier, row.id)
        return ids

    def _spells(self, row: StoredIdentifier, cluster: Cluster) -> bool:
        return any(row.identifier in forms for forms in cluster.spellings.values())

    def _exclusion(self, row: StoredIdentifier, cluster: Cluster) -> str:
        reason = cluster.excluded.get(row.identifier) if row.identifier is not None else None
        if reason is None and row.identifier is not None:
            try:
                region = self.settings.identity_graph.default_region if self.settings.identity_graph else None
                reason = cluster.excluded.get(normalise(row.identifier, region))
            except InvalidIdentifier:
                reason = None
        return reason.value if reason is not None else "not_reached"

    def _insert(self, fresh: Sequence[tuple[UUID, Identifier, bytes]]) -> None:
        if not fresh:
            return
        self.connection.execute(
            text(
                "INSERT INTO identifiers (id, request_id, origin, kind, sealed, keyed_hash, use)"
                " SELECT id, :request_id, 'graph', kind, sealed, hash, 'pending' FROM unnest(CAST(:ids AS uuid[]),"
                " CAST(:kinds AS text[]), CAST(:sealed AS bytea[]), CAST(:hashes AS bytea[]))"
                " AS n(id, kind, sealed, hash)"
            ),
            {
                "request_id": self.row.id,
                "ids": [row_id for row_id, _, _ in fresh],
                "kinds": [form.kind for _, form, _ in fresh],
                "sealed": [seal_identifier(self.key, self.row.id, row_id, form.value) for row_id, form, _ in fresh],
                "hashes": [keyed_hash for _, _, keyed_hash in fresh],
            },
        )

    def _mark(self, kept: set[UUID], reasons: Mapping[UUID, str]) -> None:
        self.connection.execute(
            text("UPDATE identifiers SET use = 'pending', exclusion = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": list(kept)},
        )
        self.connection.execute(
            text(
                "UPDATE identifiers i SET use = 'excluded', exclusion = n.reason"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[])) AS n(id, reason) WHERE i.id = n.id"
            ),
            {"ids": list(reasons), "reasons": list(reasons.values())},
        )

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
        nobody may wait for it."""
        by_hash = {self.stores.pepper.of_identifier(member): member for member in cluster.members}
        rows = self.connection.execute(
            text(
                "SELECT i.request_id, r.duty, array_agg(i.keyed_hash) AS hashes FROM identifiers i"
                " JOIN requests r ON r.id = i.request_id"
                " WHERE i.keyed_hash = ANY(CAST(:hashes AS bytea[])) AND i.use IN ('planned', 'pending')"
                " AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL AND r.id <> :id"
                " AND (r.located_until IS NOT NULL OR ((r.created_at, r.id) < (:created, :id)"
                " AND (i.verification_method IS NOT NULL OR i.origin = 'graph')))"
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
        """One step per active system begins to search; the plan is frozen when all have answered, or patience ends."""
        systems = self.connection.execute(
            text("SELECT name, position FROM systems WHERE state = 'active' ORDER BY position, name")
        ).all()
        if not systems:
            # Nobody would do anything: calling that fulfilled would be a lie. A review settles it again later.
            doubts = [{"reason": _NO_SYSTEM, "identifiers": [], "sources": []}]
            self._set_aside(Progress.NEEDS_REVIEW, doubts, "review_opened")
            return
        steps = [(uuid4(), system.name, system.position) for system in systems]
        self.connection.execute(
            text(
                "INSERT INTO steps (id, request_id, system, position, phase, state, due_at, respond_by, lane)"
                " SELECT id, :request, system, position, :phase, :state, :now, :respond_by, :lane FROM unnest("
                " CAST(:ids AS uuid[]), CAST(:systems AS text[]), CAST(:positions AS integer[]))"
                " AS n(id, system, position)"
            ),
            {
                "request": self.row.id,
                "phase": Phase.LOCATE,
                "state": StepState.DUE,
                "now": self.now,
                "respond_by": self.row.respond_by,
                "lane": self.row.import_id or SINGLE_LANE,
                "ids": [step[0] for step in steps],
                "systems": [step[1] for step in steps],
                "positions": [step[2] for step in steps],
            },
        )
        self.connection.execute(
            text(
                "UPDATE requests SET state = 'in_progress', reason = :reason, duty = :duty, due_at = :due, tries = 0,"
                " lease_until = NULL, located_until = :due WHERE id = :id"
            ),
            {
                "reason": Progress.LOCATING,
                "duty": Duty.FREEZE,
                "due": self.now + self.settings.seconds("locate_patience"),
                "id": self.row.id,
            },
        )
        changes = [
            self._change(
                "request_settled",
                {
                    "identifiers": len(cluster.members),
                    "excluded": len(cluster.excluded),
                    "doubts": [d["reason"] for d in self.row.doubts],
                },
            )
        ]
        changes += [
            Change(
                "step",
                str(step_id),
                Version(),
                "step_opened",
                self.row.subject,
                {"request": str(self.row.id), "system": name, "phase": Phase.LOCATE, "state": StepState.DUE},
            )
            for step_id, name, _ in steps
        ]
        log_changes(self.connection, changes, actor="worker", at=self.now)

    def _change(self, event: str, data: Mapping[str, Any]) -> Change:
        return Change("request", str(self.row.id), version_of(self.row), event, self.row.subject, data)

    def _log(self, event: str, data: Mapping[str, Any]) -> None:
        log_changes(self.connection, [self._change(event, data)], actor="worker", at=self.now)


def _sign(doubt: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    return doubt["reason"], tuple(sorted(doubt["identifiers"]))
