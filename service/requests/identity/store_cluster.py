"""Store people's clusters as rows: one for every member and every spelling.

Decides which identifier rows a cluster needs and what each is used for. Runs inside a transaction of the caller that
has locked the requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import Connection

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.requests.identifiers import StoredIdentifier, seal_identifier
from service.requests.identity.store import NewRow, exclude, insert_found, use_again
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper


@dataclass(frozen=True)
class ClusterRows:
    """The rows of one person's cluster: new, used, and excluded ones with reasons; `ids`: every row's id."""

    new: tuple[NewRow, ...] = field(repr=False)
    kept: frozenset[UUID]
    excluded: Mapping[UUID, str]
    ids: Mapping[Identifier, UUID] = field(repr=False)


def cluster_rows(
    pepper: Pepper,
    settings: Settings,
    request_id: UUID,
    key: bytes,
    known: Sequence[StoredIdentifier],
    cluster: Cluster,
) -> ClusterRows:
    """Return the rows that a request's cluster needs, from the rows that the request has already."""
    by_value = {row.identifier: row for row in known if row.identifier is not None}
    ids: dict[Identifier, UUID] = {}
    new: list[NewRow] = []
    for member in sorted(cluster.members):
        keyed_hash = pepper.of_identifier(member)
        for form in [member, *sorted(cluster.spellings.get(member, frozenset()) - {member})]:
            if form in by_value:
                ids.setdefault(member, by_value[form].id)
            else:
                row_id = uuid4()
                ids.setdefault(member, row_id)
                sealed = seal_identifier(key, request_id, row_id, form.value)
                new.append(NewRow(row_id, request_id, form.kind, sealed, keyed_hash))
    spelled = frozenset[Identifier]().union(*cluster.spellings.values())
    members = {row.id for row in known if row.identifier in cluster.members or row.identifier in spelled}
    kept = frozenset(members - {row.id for row in known if row.use == "dropped"})
    excluded = {
        row.id: _exclusion(row, cluster, settings) for row in known if row.id not in kept and row.use != "dropped"
    }
    for row in known:
        if row.identifier is not None:
            ids.setdefault(row.identifier, row.id)
    return ClusterRows(tuple(new), kept, excluded, ids)


def write_clusters(connection: Connection, clusters: Sequence[ClusterRows]) -> None:
    """Write clusters in three statements, for any number of people."""
    insert_found(connection, [row for each in clusters for row in each.new])
    use_again(connection, [row_id for each in clusters for row_id in each.kept])
    exclude(connection, {row_id: reason for each in clusters for row_id, reason in each.excluded.items()})


def _exclusion(row: StoredIdentifier, cluster: Cluster, settings: Settings) -> str:
    reason = cluster.excluded.get(row.identifier) if row.identifier is not None else None
    if reason is None and row.identifier is not None:
        try:
            region = settings.identity_graph.default_region if settings.identity_graph else None
            reason = cluster.excluded.get(normalise(row.identifier, region))
        except InvalidIdentifier:
            reason = None
    return reason.value if reason is not None else "not_reached"
