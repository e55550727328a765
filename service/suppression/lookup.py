"""What the store knows about the hashes of a page of changes: one reading of the suppression list, and of what is told
about those few who stand on it.

Decides nothing (domain.suppression.reappearance does). The list is read by its key, hash by hash, so a page costs the
same however
many people were ever erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from service.domain.execution.states import ENDED, StepState
from service.domain.suppression.reappearance import Entry, Known, Origin, Sighting
from service.requests.intake.duplicates import OPEN_REQUESTS
from service.store.arrays import Packed, listed

# OFFSET 0 keeps the loop, as in link_submissions.
_ENTRIES = text(
    "SELECT h.hash, e.request_id, e.added_at FROM unnest(CAST(:hashes AS bytea[])) AS h(hash) CROSS JOIN LATERAL ("
    " SELECT request_id, added_at FROM suppression_entries WHERE keyed_hash = h.hash AND removed_at IS NULL"
    " OFFSET 0) AS e"
)
_ORIGINS = text(
    "SELECT r.id, coalesce(r.reappearance_of, r.id) AS person, r.regime, s.state, s.record_hashes FROM requests r"
    " LEFT JOIN steps s ON s.request_id = r.id AND s.system = :system WHERE r.id = ANY(CAST(:ids AS uuid[]))"
)
_REFUSED = text(
    "SELECT DISTINCT r.reappearance_of AS person, i.keyed_hash FROM requests r"
    " JOIN identifiers i ON i.request_id = r.id"
    " WHERE r.reappearance_of = ANY(CAST(:people AS uuid[]))"
    " AND (r.state IN ('denied', 'revoked') OR i.use = 'dropped') AND i.keyed_hash = ANY(CAST(:hashes AS bytea[]))"
)
_TOLD = text(
    "SELECT a.record_hash, a.changed_at FROM unnest(CAST(:records AS bytea[])) AS n(record_hash)"
    " JOIN reappearances a ON a.system = :system AND a.record_hash = n.record_hash"
)
# Ended without erasing: what stood in the plan is still there, and was left there knowingly.
_KEPT = frozenset({StepState.RETAINED, StepState.UNRESOLVED, StepState.SUPPRESSED, StepState.NOT_ADDRESSABLE})


def what_is_known(connection: Connection, system: str, sightings: Sequence[Sighting]) -> Known:
    """One statement for a page on which nobody is on the list, as almost always."""
    hashes = frozenset[bytes]().union(*(sighting.hashes for sighting in sightings))
    if not hashes:
        return Known()
    rows = connection.execute(_ENTRIES, {"hashes": Packed(hashes)}).all()
    entries = [Entry(bytes(row.hash), row.request_id, row.added_at) for row in rows]
    if not entries:
        return Known()
    on_list = {entry.keyed_hash for entry in entries}
    origins = _origins(connection, system, {entry.request_id for entry in entries})
    return Known(
        entries=entries,
        origins=origins,
        holders=_holders(connection, on_list),
        refused=_refused(connection, {origin.person for origin in origins.values()}, on_list),
        told=_told(connection, system, [s.record_hash for s in sightings if s.hashes & on_list]),
    )


def _origins(connection: Connection, system: str, ids: set[UUID]) -> dict[UUID, Origin]:
    rows = connection.execute(_ORIGINS, {"ids": listed(ids), "system": system})
    return {row.id: _origin(row) for row in rows}


def _origin(row: Any) -> Origin:
    is_at_work = row.state is not None and row.state not in ENDED
    kept = frozenset(bytes(h) for h in row.record_hashes) if row.state in _KEPT else frozenset[bytes]()
    return Origin(row.id, row.person, row.regime, is_at_work, kept)


def _holders(connection: Connection, hashes: set[bytes]) -> Mapping[bytes, set[UUID]]:
    rows = connection.exec_driver_sql(OPEN_REQUESTS, {"hashes": Packed(hashes), "import": None})
    found: dict[bytes, set[UUID]] = {}
    for row in rows:
        for keyed_hash in row.hashes:
            found.setdefault(bytes(keyed_hash), set()).add(row.request_id)
    return found


def _refused(connection: Connection, people: set[UUID], hashes: set[bytes]) -> frozenset[tuple[UUID, bytes]]:
    rows = connection.execute(_REFUSED, {"people": listed(people), "hashes": Packed(hashes)})
    return frozenset((row.person, bytes(row.keyed_hash)) for row in rows)


def _told(connection: Connection, system: str, records: Sequence[bytes]) -> frozenset[tuple[bytes, datetime]]:
    rows = connection.execute(_TOLD, {"system": system, "records": Packed(dict.fromkeys(records))})
    return frozenset((bytes(row.record_hash), row.changed_at) for row in rows)
