"""Resolve the plain requests of one identity search together.

The others are resolved one by one (`resolve.py`). Decides which are plain: verified, without a doubt, never reviewed,
and without a common identifier with another request. The result is the same as one by one, in a few statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from service.domain.identity.cluster import Cluster, Person
from service.domain.identity.explanation import Explanation, explain
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.explanations import write_explanations
from service.requests.identity.overlaps import with_overlap
from service.requests.identity.store_cluster import cluster_rows, write_clusters
from service.requests.planning.create_steps import active_systems
from service.requests.planning.start import start_requests
from service.requests.records.rows import PlannedRequest
from service.requests.records.store import lock_leased_plain
from service.settings import Settings
from service.store.encryption.key_store import request_owner
from service.store.locking import database_now
from service.store.stores import Stores


def resolve_batch(
    connection: Connection,
    stores: Stores,
    settings: Settings,
    people: Sequence[tuple[int, Person[UUID]]],
    clusters: Mapping[UUID, Cluster],
    keys: Mapping[str, bytes],
    opting_out: frozenset[UUID],
) -> frozenset[UUID]:
    """Resolve the plain ones among these leased requests (fence, person). Return their ids.

    `opting_out`: suppression requests, which meet no other request.

    The caller holds the lock under which requests are resolved (`take_turns`).
    """
    fences = _without_overlap(stores, people, clusters, opting_out)
    rows = lock_leased_plain(connection, fences)
    overlapping = _overlapping(connection, stores, [row for row in rows if row.id not in opting_out], clusters)
    plain = [row for row in rows if row.id not in overlapping]
    systems = active_systems(connection, settings)
    if not plain or not systems:
        return frozenset()
    known = read_identifiers(connection, [row.id for row in plain], keys)
    write_clusters(
        connection,
        [
            cluster_rows(stores.pepper, settings, row.id, keys[request_owner(row.id)], known[row.id], clusters[row.id])
            for row in plain
        ],
    )
    write_explanations(connection, _explanations(stores, plain, known, clusters), keys)
    now = database_now(connection)
    start_requests(connection, settings, [(row, clusters[row.id]) for row in plain], systems, now)
    return frozenset(row.id for row in plain)


def _explanations(
    stores: Stores,
    plain: Sequence[PlannedRequest],
    known: Mapping[UUID, Sequence[StoredIdentifier]],
    clusters: Mapping[UUID, Cluster],
) -> dict[UUID, Explanation]:
    """Return the explanations of clusters with links: without a link there is nothing to explain."""
    return {
        row.id: explain(
            Explanation(),
            [each.identifier for each in known[row.id] if each.identifier is not None],
            clusters[row.id],
            stores.pepper.of_identifier,
        )
        for row in plain
        if clusters[row.id].evidence
    }


def _without_overlap(
    stores: Stores,
    people: Sequence[tuple[int, Person[UUID]]],
    clusters: Mapping[UUID, Cluster],
    opting_out: frozenset[UUID],
) -> dict[UUID, int]:
    """Return the fences of requests without a doubt and without an identifier of an earlier one."""
    met: set[bytes] = set()
    fences: dict[UUID, int] = {}
    for fence, person in people:
        cluster = clusters[person.ref]
        hashes = {stores.pepper.of_identifier(member) for member in cluster.members}
        is_plain = bool(hashes) and not cluster.doubts and any(seed.verified for seed in person.seeds)
        opts_out = person.ref in opting_out
        if is_plain and (opts_out or not hashes & met):
            fences[person.ref] = fence
        if not opts_out:
            met |= hashes
    return fences


def _overlapping(
    connection: Connection, stores: Stores, rows: Sequence[PlannedRequest], clusters: Mapping[UUID, Cluster]
) -> set[UUID]:
    """Return the requests that share an identifier with another unfinished request."""
    pairs = [(row.id, stores.pepper.of_identifier(member)) for row in rows for member in clusters[row.id].members]
    return with_overlap(connection, pairs)
