"""Settle who a request is about: lease it, let the caller walk the identity graph, record the cluster.

Decides what happens with doubts, with people who have an open request already, and where a step per system begins.
The graph is asked between the two transactions, never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, text, update
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, DoubtReason, Link, Person, Seed, link_of
from service.domain.identity.doubts import (
    MEETS_OPEN_REQUEST,
    NO_IDENTIFIER_LEFT,
    NO_SYSTEM_CONNECTED,
    DoubtDecision,
    OpenDoubt,
    doubts_of,
    reasons_of,
)
from service.domain.identity.explanation import Explanation, explain
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.requests.states import Duty, Progress, RequestState
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.due import pick_identities
from service.requests.identity.explanations import (
    StoredReview,
    read_explanations,
    read_reviews,
    write_explanations,
)
from service.requests.identity.resolve_batch import settle_together
from service.requests.identity.review_entries import review_opened
from service.requests.identity.store_cluster import place_cluster, write_placements
from service.requests.imports.paused import REQUEST_GOES_ON
from service.requests.planning.create_steps import active_systems
from service.requests.planning.start import start_requests
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.encryption.key_store import request_owner
from service.store.interlock import gate_is_open
from service.store.locking import check_again, database_now, version_of
from service.store.stores import Stores
from service.store.tables.requests import RequestRow

log = structlog.get_logger(__name__)

_SETTLE_LOCK = 0x53544C45  # settling is short and one at a time: two requests of one person must see each other
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
                " RETURNING id, fence, tries, respond_by, created_at, doubts_version"
            ),
            {"lease": settings.engine.lease_seconds * 4, "ids": pick_identities(connection, limit)},
        ).all()
    # The earlier first: a later request of the same person then meets one that is settled.
    leased = sorted(leased, key=lambda row: (row.created_at, row.id))
    ids = [row.id for row in leased]
    keys = stores.keys.get([request_owner(i) for i in ids])
    with stores.engine.begin() as connection:
        identifiers = read_identifiers(connection, ids, keys)
        reviews = read_reviews(connection, [row.id for row in leased if row.doubts_version])
        explanations = read_explanations(connection, reviews, keys) if reviews else {}
    return [
        LeasedIdentity(
            row.id,
            row.fence,
            row.tries,
            row.respond_by,
            _person(
                row.id,
                identifiers[row.id],
                # Without its key nothing of the request can be opened, and nothing of its walk will be recorded.
                reviews.get(row.id, ()) if request_owner(row.id) in keys else (),
                explanations.get(row.id, Explanation()),
            ),
        )
        for row in leased
    ]


def _person(
    request_id: UUID, rows: Sequence[StoredIdentifier], reviews: Sequence[StoredReview], explanation: Explanation
) -> Person[UUID]:
    opened = [(row, row.identifier) for row in rows if row.identifier is not None]
    cut, followed, kept = _decided(reviews, explanation)
    return Person(
        ref=request_id,
        seeds=tuple(
            Seed(identifier, row.verification_method is not None)
            for row, identifier in opened
            if row.origin == "submitted" and row.use != "dropped"
        ),
        dropped=frozenset(identifier for row, identifier in opened if row.use == "dropped"),
        cut=frozenset(cut),
        followed=frozenset(followed),
        kept=frozenset(kept),
    )


def _decided(reviews: Sequence[StoredReview], explanation: Explanation) -> tuple[set[Link], set[Link], set[Identifier]]:
    """What the reviews say of links and supernodes; the last word about each counts. Dropped rows say it themselves."""
    cut: set[Link] = set()
    followed: set[Link] = set()
    kept: set[Identifier] = set()
    for decision in (each for review in reviews for each in review.decisions):
        keeps = decision.decision == DoubtDecision.KEEP
        if decision.is_edge:
            one, other = (explanation.identifier(ordinal) for ordinal in decision.about)
            pair = link_of(one, other)
            (cut.discard if keeps else cut.add)(pair)
            if decision.reason == DoubtReason.LOW_CONFIDENCE:
                (followed.add if keeps else followed.discard)(pair)
        elif decision.reason == DoubtReason.SUPERNODE and decision.about:
            (kept.add if keeps else kept.discard)(explanation.identifier(decision.about[0]))
    return cut, followed, kept


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
            self._set_aside(Progress.NEED_USER_VERIFICATION, [])
            return
        explanation, rows = self._store(cluster)
        ordinals = explanation.ordinals
        doubts = doubts_of(cluster, ordinals, rows)
        if not cluster.members:
            # Everything submitted was dropped or barred: there is nobody to look for, and that is no success.
            self._set_aside(Progress.NEEDS_REVIEW, [OpenDoubt(NO_IDENTIFIER_LEFT), *doubts])
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
            doubts += [
                OpenDoubt(MEETS_OPEN_REQUEST, (ordinals[each],), identifiers=(rows[each],), other=met.request_id)
                for each in met.common
            ]
        decided = self._decided()
        if any(doubt.sign not in decided for doubt in doubts):
            self._set_aside(Progress.NEEDS_REVIEW, doubts)
            return
        self._start(cluster)

    def _store(self, cluster: Cluster) -> tuple[Explanation, Mapping[Identifier, UUID]]:
        """Rows for every member and every spelling; submitted rows that aren't members say why. Returns each one's
        row, and the explanation, which is written where the walk has met anything."""
        keys = {request_owner(self.row.id): self.key}
        known = read_identifiers(self.connection, [self.row.id], keys)[self.row.id]
        placement = place_cluster(self.stores.pepper, self.settings, self.row.id, self.key, known, cluster)
        write_placements(self.connection, [placement])
        before = read_explanations(self.connection, [self.row.id], keys).get(self.row.id, Explanation())
        stored = [row.identifier for row in known if row.identifier is not None]
        explanation = explain(before, stored, cluster, self.stores.pepper.of_identifier)
        write_explanations(self.connection, {self.row.id: explanation}, keys)
        return explanation, dict(self._in_normal_form(known)) | dict(placement.ids)

    def _in_normal_form(self, known: Sequence[StoredIdentifier]) -> Iterator[tuple[Identifier, UUID]]:
        """The rows by their normal forms: doubts are about these, whatever the spelling was that came in."""
        graph = self.settings.identity_graph
        for row in known:
            if row.identifier is not None:
                with suppress(InvalidIdentifier):
                    yield normalise(row.identifier, graph.default_region if graph else None), row.id

    def _decided(self) -> set[tuple[str, tuple[int, ...]]]:
        """The doubts that reviewers of this request have decided already."""
        reviews = read_reviews(self.connection, [self.row.id]).get(self.row.id, [])
        return {(each.reason, each.about) for review in reviews for each in review.decisions}

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

    def _set_aside(self, reason: Progress, doubts: Sequence[OpenDoubt]) -> None:
        """Nothing starts before a human spoke (or the requester verified)."""
        self.connection.execute(
            update(RequestRow)
            .where(RequestRow.id == self.row.id)
            .values(
                state=RequestState.IN_PROGRESS,
                reason=reason,
                duty=None,
                due_at=None,
                lease_until=None,
                doubts=[doubt.as_json() for doubt in doubts],
                doubts_version=self.row.doubts_version + 1,
                identity_reviewed=False,
            )
        )
        if reason is Progress.NEEDS_REVIEW:
            self._log("review_opened", review_opened(doubts, self.row.doubts_version + 1))
        else:
            self._log("request_in_progress", {"reason": reason, "doubts_version": self.row.doubts_version + 1})

    def _start(self, cluster: Cluster) -> None:
        systems = active_systems(self.connection, self.settings)
        if not systems:
            # Nobody would do anything: calling that fulfilled would be a lie. A review settles it again later.
            self._set_aside(Progress.NEEDS_REVIEW, [OpenDoubt(NO_SYSTEM_CONNECTED)])
            return
        kept = sorted({*self.row.second_person_for, *reasons_of(cluster.doubts)})
        row = self.connection.execute(
            update(RequestRow)
            .where(RequestRow.id == self.row.id)
            .values(second_person_for=kept)
            .returning(*RequestRow.__table__.c)
        ).one()
        start_requests(self.connection, self.settings, [(row, cluster)], systems, self.now)

    def _change(self, event: str, data: Mapping[str, Any]) -> Change:
        return Change("request", str(self.row.id), version_of(self.row), event, self.row.subject, data)

    def _log(self, event: str, data: Mapping[str, Any]) -> None:
        log_changes(self.connection, [self._change(event, data)], actor="worker", at=self.now)
