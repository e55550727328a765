"""Put people's clusters into rows: one for every member and every spelling; submitted ones outside say why.

Decides which identifier rows a cluster needs and what each is used for. Runs inside a transaction of the caller that
has locked the requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.requests.identifiers import StoredIdentifier, seal_identifier
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper


@dataclass(frozen=True)
class _NewRow:
    id: UUID
    request_id: UUID
    kind: str
    sealed: bytes = field(repr=False)
    keyed_hash: bytes = field(repr=False)


@dataclass(frozen=True)
class Placement:
    """Where one person's cluster is stored: new rows, rows that count, rows that don't and why, and each one's id."""

    new: tuple[_NewRow, ...]
    kept: frozenset[UUID]
    excluded: Mapping[UUID, str]
    ids: Mapping[Identifier, UUID] = field(repr=False)


def place_cluster(
    pepper: Pepper,
    settings: Settings,
    request_id: UUID,
    key: bytes,
    known: Sequence[StoredIdentifier],
    cluster: Cluster,
) -> Placement:
    """Decide it for one request, from the rows that it has already."""
    by_value = {row.identifier: row for row in known if row.identifier is not None}
    ids: dict[Identifier, UUID] = {}
    new: list[_NewRow] = []
    for member in sorted(cluster.members):
        keyed_hash = pepper.of_identifier(member)
        for form in [member, *sorted(cluster.spellings.get(member, frozenset()) - {member})]:
            if form in by_value:
                ids.setdefault(member, by_value[form].id)
            else:
                row_id = uuid4()
                ids.setdefault(member, row_id)
                sealed = seal_identifier(key, request_id, row_id, form.value)
                new.append(_NewRow(row_id, request_id, form.kind, sealed, keyed_hash))
    spelled = frozenset[Identifier]().union(*cluster.spellings.values())
    members = {row.id for row in known if row.identifier in cluster.members or row.identifier in spelled}
    kept = frozenset(members - {row.id for row in known if row.use == "dropped"})
    excluded = {
        row.id: _exclusion(row, cluster, settings) for row in known if row.id not in kept and row.use != "dropped"
    }
    for row in known:
        if row.identifier is not None:
            ids.setdefault(row.identifier, row.id)
    return Placement(tuple(new), kept, excluded, ids)


def write_placements(connection: Connection, placements: Sequence[Placement]) -> None:
    """Write them, three statements for any number of people."""
    new = [row for placement in placements for row in placement.new]
    if new:
        connection.execute(
            text(
                "INSERT INTO identifiers (id, request_id, origin, kind, sealed, keyed_hash, use)"
                " SELECT id, request, 'graph', kind, sealed, hash, 'pending' FROM unnest(CAST(:ids AS uuid[]),"
                " CAST(:requests AS uuid[]), CAST(:kinds AS text[]), CAST(:sealed AS bytea[]),"
                " CAST(:hashes AS bytea[])) AS n(id, request, kind, sealed, hash)"
            ),
            {
                "ids": [row.id for row in new],
                "requests": [row.request_id for row in new],
                "kinds": [row.kind for row in new],
                "sealed": [row.sealed for row in new],
                "hashes": [row.keyed_hash for row in new],
            },
        )
    connection.execute(
        text(
            "UPDATE identifiers SET use = 'pending', exclusion = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"
            " AND (use <> 'pending' OR exclusion IS NOT NULL)"
        ),
        {"ids": [row_id for placement in placements for row_id in placement.kept]},
    )
    excluded = [pair for placement in placements for pair in placement.excluded.items()]
    if excluded:
        connection.execute(
            text(
                "UPDATE identifiers i SET use = 'excluded', exclusion = n.reason"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[])) AS n(id, reason) WHERE i.id = n.id"
            ),
            {"ids": [row_id for row_id, _ in excluded], "reasons": [reason for _, reason in excluded]},
        )


def _exclusion(row: StoredIdentifier, cluster: Cluster, settings: Settings) -> str:
    reason = cluster.excluded.get(row.identifier) if row.identifier is not None else None
    if reason is None and row.identifier is not None:
        try:
            region = settings.identity_graph.default_region if settings.identity_graph else None
            reason = cluster.excluded.get(normalise(row.identifier, region))
        except InvalidIdentifier:
            reason = None
    return reason.value if reason is not None else "not_reached"
