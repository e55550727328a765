"""Settle the plain people of one walk together; the others are settled one by one (settle_identity).

Decides who is plain: verified, without a doubt, never reviewed, and nobody else's request has an identifier in common.
What becomes of them is the same as one by one, in a few statements for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.identity.cluster import Cluster, Person
from service.domain.identity.explanation import Explanation, explain
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.explanations import write_explanations
from service.requests.identity.store_cluster import place_cluster, write_placements
from service.requests.planning.create_steps import active_systems
from service.requests.planning.start import start_requests
from service.settings import Settings
from service.store.arrays import Packed, counted, listed
from service.store.encryption.key_store import request_owner
from service.store.execute import run
from service.store.locking import database_now
from service.store.stores import Stores


def settle_together(
    connection: Connection,
    stores: Stores,
    settings: Settings,
    people: Sequence[tuple[int, Person[UUID]]],
    clusters: Mapping[UUID, Cluster],
    keys: Mapping[str, bytes],
) -> frozenset[UUID]:
    """Settle the plain ones among these leased requests (fence, person). Returns whom.

    The caller holds the lock under which people are settled.
    """
    fences = _without_company(stores, people, clusters)
    rows = _locked(connection, fences)
    meeting = _meeting(connection, stores, rows, clusters)
    plain = [row for row in rows if row.id not in meeting]
    systems = active_systems(connection, settings)
    if not plain or not systems:
        return frozenset()
    known = read_identifiers(connection, [row.id for row in plain], keys)
    write_placements(
        connection,
        [
            place_cluster(stores.pepper, settings, row.id, keys[request_owner(row.id)], known[row.id], clusters[row.id])
            for row in plain
        ],
    )
    write_explanations(connection, _explanations(stores, plain, known, clusters), keys)
    now = database_now(connection)
    start_requests(connection, settings, [(row, clusters[row.id]) for row in plain], systems, now)
    return frozenset(row.id for row in plain)


def _explanations(
    stores: Stores,
    plain: Sequence[Row[Any]],
    known: Mapping[UUID, Sequence[StoredIdentifier]],
    clusters: Mapping[UUID, Cluster],
) -> dict[UUID, Explanation]:
    """Of those whose cluster the graph added to: without a link there is nothing to explain."""
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


def _without_company(
    stores: Stores, people: Sequence[tuple[int, Person[UUID]]], clusters: Mapping[UUID, Cluster]
) -> dict[UUID, int]:
    """Fences of those without a doubt who share no identifier with anybody before them in this walk."""
    met: set[bytes] = set()
    fences: dict[UUID, int] = {}
    for fence, person in people:
        cluster = clusters[person.ref]
        hashes = {stores.pepper.of_identifier(member) for member in cluster.members}
        is_plain = bool(hashes) and not cluster.doubts and any(seed.verified for seed in person.seeds)
        if is_plain and not hashes & met:
            fences[person.ref] = fence
        met |= hashes
    return fences


# Locked by primary key first and tested afterwards: tested in one step, all that wait for their search were read once
# for each of these people (5,000 waiting: 190 ms instead of 3 for a walk of 200).
_LOCKED = (
    "WITH locked AS MATERIALIZED (SELECT * FROM requests WHERE id = ANY(CAST(:ids AS uuid[]))"
    " ORDER BY id FOR NO KEY UPDATE)"
    " SELECT r.id, r.subject, r.respond_by, r.lane, r.doubts, r.second_person_for, r.plan_version, r.reappearance_of,"
    " r.version, r.entry_hash"
    " FROM locked r JOIN unnest(CAST(:ids AS uuid[]), CAST(:fences AS integer[])) AS n(id, fence) USING (id)"
    " WHERE r.fence = n.fence AND r.duty = 'identify' AND NOT r.identity_reviewed AND r.doubts_version = 0"
    " ORDER BY r.id"
)


def _locked(connection: Connection, fences: Mapping[UUID, int]) -> list[Row[Any]]:
    """Those whose lease is still the caller's, and about whom no human said or was asked anything."""
    return run(connection, _LOCKED, {"ids": listed(fences), "fences": counted(fences.values())}).all()


# By hash first: planned as one join, whoever is unfinished was read once for each of these people.
_MEETING = (
    "WITH met AS MATERIALIZED (SELECT own.id, i.request_id, i.verification_method, i.origin"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[])) AS own(id, hash)"
    " CROSS JOIN LATERAL (SELECT request_id, verification_method, origin FROM identifiers"
    " WHERE keyed_hash = own.hash AND request_id <> own.id AND use IN ('planned', 'pending') OFFSET 0) AS i)"
    " SELECT DISTINCT met.id FROM met JOIN requests me ON me.id = met.id JOIN requests r"
    " ON r.id = met.request_id AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL"
    " WHERE r.located_until IS NOT NULL OR ((r.created_at, r.id) < (me.created_at, me.id)"
    " AND (met.verification_method IS NOT NULL OR met.origin = 'graph'))"
)


def _meeting(
    connection: Connection, stores: Stores, rows: Sequence[Row[Any]], clusters: Mapping[UUID, Cluster]
) -> set[UUID]:
    """Those of whose identifiers one stands in another unfinished request, settled or earlier."""
    pairs = [(row.id, stores.pepper.of_identifier(member)) for row in rows for member in clusters[row.id].members]
    if not pairs:
        return set()
    values = {
        "ids": listed(request_id for request_id, _ in pairs),
        "hashes": Packed(keyed_hash for _, keyed_hash in pairs),
    }
    return set(run(connection, _MEETING, values).scalars())
