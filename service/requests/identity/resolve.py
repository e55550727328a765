"""Resolve the identities of requests: lease, let the caller search the graph, record the clusters.

Decides what happens with doubts and with people who have an open request already. The identity graph is searched
between the two transactions, never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection
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
from service.domain.requests.states import NextAction, Progress, RequestKind
from service.domain.suppression.widen import widened
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.explanations import (
    StoredReview,
    read_explanations,
    read_reviews,
    write_explanations,
)
from service.requests.identity.overlaps import overlapping_requests, take_turns
from service.requests.identity.resolve_batch import resolve_batch
from service.requests.identity.review_entries import review_opened
from service.requests.identity.store_cluster import cluster_rows, write_clusters
from service.requests.planning.create_steps import active_systems
from service.requests.planning.start import start_requests
from service.requests.records.changes import link, set_aside
from service.requests.records.rows import StoredRequest, change_of, request_change
from service.requests.records.schedule import LeasedRequest, keep_second_person, postpone, return_identities
from service.requests.records.schedule import lease_identities as take_leases
from service.requests.records.store import lock_leased, pick_identities
from service.settings import Settings
from service.store import interlock
from service.store.encryption.key_store import request_owner
from service.store.locking import database_now, request_check
from service.store.stores import Stores

log = structlog.get_logger(__name__)

_WAIT_FOR_EARLIER = timedelta(seconds=1)


@dataclass(frozen=True)
class _Overlap:
    """An unfinished request with common identifiers; `covers`: it has all of this one's identifiers."""

    request_id: UUID
    common: list[Identifier]
    covers: bool
    is_being_settled: bool


@dataclass(frozen=True)
class LeasedIdentity:
    """A request that is leased for its search: its verified identifiers, and the lease.

    `opts_out`: a suppression request. Its identifiers need no verification, because the law forbids asking for it
    (11 CCR § 7060(b), as summed up in the project's notes on law, read 2026-12-01), and an opt-out harms no person.
    """

    request_id: UUID
    fence: int
    consecutive_attempts: int
    respond_by: datetime
    opts_out: bool
    person: Person[UUID]

    def time_left(self, now: datetime) -> timedelta:
        """Until the request must be answered; negative when it is overdue."""
        return self.respond_by - now


def lease_identities(
    stores: Stores, settings: Settings, *, limit: int, admission: UUID | None = None
) -> list[LeasedIdentity]:
    """Lease due requests for a search; none while the safety interlock is engaged (see lease_steps)."""
    with stores.engine.begin() as connection:
        if interlock.is_engaged(connection, admission):
            return []
        due = pick_identities(connection, limit)
        leased = take_leases(connection, due, timedelta(seconds=settings.engine.lease_seconds * 4))
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
            row.consecutive_attempts,
            row.respond_by,
            row.kind == RequestKind.SUPPRESSION,
            _person(
                row,
                identifiers[row.id],
                # Without its key nothing of the request can be opened, and nothing of its walk will be recorded.
                reviews.get(row.id, ()) if request_owner(row.id) in keys else (),
                explanations.get(row.id, Explanation()),
            ),
        )
        for row in leased
    ]


def _person(
    request: LeasedRequest, rows: Sequence[StoredIdentifier], reviews: Sequence[StoredReview], explanation: Explanation
) -> Person[UUID]:
    opened = [(row, row.identifier) for row in rows if row.identifier is not None]
    cut, followed, kept = _decided(reviews, explanation)
    needs_no_proof = request.kind == RequestKind.SUPPRESSION
    return Person(
        ref=request.id,
        seeds=tuple(
            Seed(identifier, needs_no_proof or row.verification_method is not None)
            for row, identifier in opened
            if row.origin == "submitted" and row.use != "dropped"
        ),
        dropped=frozenset(identifier for row, identifier in opened if row.use == "dropped"),
        cut=frozenset(cut),
        followed=frozenset(followed),
        kept=frozenset(kept),
    )


def _decided(reviews: Sequence[StoredReview], explanation: Explanation) -> tuple[set[Link], set[Link], set[Identifier]]:
    """Return the links that reviews cut and followed, and the supernodes they kept.

    The last decision counts. Dropped identifiers aren't among them, because their rows hold that decision.
    """
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
    """End these leases, because the graph couldn't be searched, and make the requests due at `due_at`."""
    with stores.engine.begin() as connection:
        return_identities(connection, {each.request_id: each.fence for each in leased}, due_at)


def record_identities(
    stores: Stores, settings: Settings, leased: Sequence[LeasedIdentity], clusters: Mapping[UUID, Cluster]
) -> None:
    """Record the clusters: the plain ones in one transaction, the others in one each.

    A lease that was lost meanwhile records nothing; a request that can't be recorded doesn't keep the others from it.
    """
    keys = stores.keys.get([request_owner(i.request_id) for i in leased])
    # A request that was sealed or withdrawn meanwhile has no key, and nothing is left to do for it.
    items = [item for item in leased if request_owner(item.request_id) in keys]
    opting_out = frozenset(item.request_id for item in items if item.opts_out)
    clusters = {ref: widened(each) if ref in opting_out else each for ref, each in clusters.items()}
    done: frozenset[UUID] = frozenset()
    with _surviving("settled_one_by_one"):
        with stores.engine.begin() as connection:
            take_turns(connection)
            people = [(item.fence, item.person) for item in items]
            plain = resolve_batch(connection, stores, settings, people, clusters, keys, opting_out)
        # Only committed requests are done. If the commit itself fails, the rows' next actions say which are left.
        done = plain
    for item in items:
        if item.request_id not in done:
            with _surviving("request_not_settled"):
                _record_alone(stores, settings, item, clusters[item.request_id], keys[request_owner(item.request_id)])


@contextmanager
def _surviving(event: str) -> Iterator[None]:
    """Log an error instead of raising it: the request becomes due again when its lease ends."""
    try:
        yield
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.exception(event, error=type(error).__name__)


def _record_alone(stores: Stores, settings: Settings, item: LeasedIdentity, cluster: Cluster, key: bytes) -> None:
    with stores.engine.begin() as connection:
        take_turns(connection)
        row = lock_leased(connection, item.request_id, item.fence)
        if row is not None:
            _Resolution(connection, stores, settings, row, key).resolve(item.person, cluster)


class _Resolution:
    """One request whose identity is being resolved, inside one transaction."""

    def __init__(
        self, connection: Connection, stores: Stores, settings: Settings, row: StoredRequest, key: bytes
    ) -> None:
        self.connection = connection
        self.stores = stores
        self.settings = settings
        self.row = row
        self.key = key
        self.now = database_now(connection)

    def resolve(self, person: Person[UUID], cluster: Cluster) -> None:
        """Store the cluster and decide where the request goes."""
        if not any(seed.verified for seed in person.seeds):
            self._set_aside(Progress.NEED_USER_VERIFICATION, [])
            return
        explanation, rows = self._store(cluster)
        ordinals = explanation.ordinals
        doubts = doubts_of(cluster, ordinals, rows)
        if not cluster.members:
            # Everything submitted was dropped or barred. Without an identifier nothing can be erased: no success.
            self._set_aside(Progress.NEEDS_REVIEW, [OpenDoubt(NO_IDENTIFIER_LEFT), *doubts])
            return
        met = None if self.row.kind == RequestKind.SUPPRESSION else self._overlap(cluster)
        if met is not None and met.covers:
            self._link(met.request_id)
            return
        if met is not None and met.is_being_settled:
            # The earlier request isn't resolved, so that it may be about another person: try again afterwards.
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
        """Write the cluster and its explanation. Return the explanation, and the row of each identifier."""
        keys = {request_owner(self.row.id): self.key}
        known = read_identifiers(self.connection, [self.row.id], keys)[self.row.id]
        rows_of_cluster = cluster_rows(self.stores.pepper, self.settings, self.row.id, self.key, known, cluster)
        write_clusters(self.connection, [rows_of_cluster])
        before = read_explanations(self.connection, [self.row.id], keys).get(self.row.id, Explanation())
        stored = [row.identifier for row in known if row.identifier is not None]
        explanation = explain(before, stored, cluster, self.stores.pepper.of_identifier)
        write_explanations(self.connection, {self.row.id: explanation}, keys)
        return explanation, dict(self._in_normal_form(known)) | dict(rows_of_cluster.ids)

    def _in_normal_form(self, known: Sequence[StoredIdentifier]) -> Iterator[tuple[Identifier, UUID]]:
        """Yield each row with its normal form, because doubts are about normal forms and not spellings."""
        graph = self.settings.identity_graph
        for row in known:
            if row.identifier is not None:
                with suppress(InvalidIdentifier):
                    yield normalise(row.identifier, graph.default_region if graph else None), row.id

    def _decided(self) -> set[tuple[str, tuple[int, ...]]]:
        """Return the doubts that reviewers of this request have decided already."""
        reviews = read_reviews(self.connection, [self.row.id]).get(self.row.id, [])
        return {(each.reason, each.about) for review in reviews for each in review.decisions}

    def _postpone(self) -> None:
        postpone(self.connection, self.row.id, self.now + _WAIT_FOR_EARLIER)

    def _overlap(self, cluster: Cluster) -> _Overlap | None:
        """Return an unfinished request with a common identifier; one that covers this request comes first."""
        by_hash = {self.stores.pepper.of_identifier(member): member for member in cluster.members}
        rows = overlapping_requests(self.connection, self.row.id, self.row.created_at, by_hash)
        met = []
        for row in rows:
            hashes = {bytes(h) for h in row.hashes}
            common = sorted(by_hash[h] for h in hashes)
            met.append(_Overlap(row.request_id, common, hashes >= set(by_hash), row.next_action == NextAction.IDENTIFY))
        return min(met, key=lambda one: (not one.covers, not one.is_being_settled), default=None)

    def _link(self, other: UUID) -> None:
        change = request_change(self.row, "request_linked", to=str(other))
        link(self.connection, [change], to=other, by_person=False, actor="worker", at=self.now)
        # The other request may have ended after this transaction read it.
        request_check(self.connection, [other])

    def _set_aside(self, reason: Progress, doubts: Sequence[OpenDoubt]) -> None:
        """Let the request wait for a review, or for the requester's verification."""
        version = self.row.doubts_version + 1
        if reason is Progress.NEEDS_REVIEW:
            change = change_of(self.row, "review_opened", review_opened(doubts, version))
        else:
            change = request_change(self.row, "request_in_progress", reason=reason, doubts_version=version)
        set_aside(self.connection, [change], reason=reason, doubts=doubts, actor="worker", at=self.now)

    def _start(self, cluster: Cluster) -> None:
        systems = active_systems(self.connection, self.settings)
        if not systems:
            # Without a system nothing would be erased, so that the request can't be fulfilled. A review resolves it
            # again later.
            self._set_aside(Progress.NEEDS_REVIEW, [OpenDoubt(NO_SYSTEM_CONNECTED)])
            return
        kept = sorted({*self.row.second_person_for, *reasons_of(cluster.doubts)})
        row = keep_second_person(self.connection, self.row.id, kept)
        start_requests(self.connection, self.settings, [(row, cluster)], systems, self.now)
