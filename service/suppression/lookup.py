"""Look up a page of changes in the suppression list, and read the facts about the people found.

Decides nothing: `service.domain.suppression.reappearance` does. The list is read by its key, hash by hash, so that a
page doesn't cost more with every person who was ever erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import ENDED, StepState
from service.domain.suppression.reappearance import Known, Origin, Sighting
from service.requests.intake.duplicates import OPEN_REQUESTS
from service.store.arrays import BinaryArray
from service.suppression import store
from service.suppression.store import StepOfOrigin

# Ends without an erasure: the plan's records are still there on purpose.
_KEPT = frozenset({StepState.RETAINED, StepState.UNRESOLVED, StepState.SUPPRESSED, StepState.NOT_ADDRESSABLE})


def what_is_known(connection: Connection, system: str, sightings: Sequence[Sighting]) -> Known:
    """Return the stored facts about a page's hashes.

    One statement where no hash is on the list, as almost always.
    """
    hashes = frozenset[bytes]().union(*(sighting.hashes for sighting in sightings))
    if not hashes:
        return Known()
    entries = store.find_entries(connection, hashes)
    if not entries:
        return Known()
    on_list = {entry.keyed_hash for entry in entries}
    requests = store.read_origins(connection, system, {entry.request_id for entry in entries})
    origins = {request.request_id: _origin(request) for request in requests}
    return Known(
        entries=entries,
        origins=origins,
        holders=_holders(connection, on_list),
        refused=store.read_refused(connection, {origin.person for origin in origins.values()}, on_list),
        told=store.read_known_states(connection, system, [s.record_hash for s in sightings if s.hashes & on_list]),
    )


def _origin(request: StepOfOrigin) -> Origin:
    is_at_work = request.state is not None and request.state not in ENDED
    kept = request.record_hashes if request.state in _KEPT else frozenset[bytes]()
    return Origin(request.request_id, request.person, request.regime, is_at_work, kept)


def _holders(connection: Connection, hashes: set[bytes]) -> Mapping[bytes, set[UUID]]:
    rows = connection.exec_driver_sql(OPEN_REQUESTS, {"hashes": BinaryArray(hashes), "import": None})
    found: dict[bytes, set[UUID]] = {}
    for row in rows:
        for keyed_hash in row.hashes:
            found.setdefault(bytes(keyed_hash), set()).add(row.request_id)
    return found
