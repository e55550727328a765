"""Which plans of re-appeared people a second person must approve: all of them, unless the policy is to erase.

Decides that the policy `erase` holds only for whom the list knew. A phone number that was given to somebody else leads
the walk to that person: their other identifiers never stood on the list, so such a plan waits for a human all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from service.domain.suppression.reappearance import ReappearancePolicy
from service.settings import Settings
from service.store.arrays import listed

_WITH_OTHERS = text(
    "SELECT r.id FROM requests r WHERE r.id = ANY(CAST(:ids AS uuid[]))"
    " AND EXISTS (SELECT 1 FROM identifiers i WHERE i.request_id = r.id AND i.use = 'planned' AND NOT EXISTS ("
    " SELECT 1 FROM suppression_entries e JOIN requests o ON o.id = e.request_id"
    " WHERE e.keyed_hash = i.keyed_hash AND e.removed_at IS NULL AND o.id <> r.id"
    " AND r.reappearance_of IN (o.id, o.reappearance_of)))"
)


def reappearances_to_approve(
    connection: Connection, settings: Settings, request_ids: Sequence[UUID]
) -> frozenset[UUID]:
    """Those of these re-appearances, whose identifiers are planned already, that wait for an approval."""
    policy = ReappearancePolicy(settings.suppression.reappearance)
    if not request_ids or policy is not ReappearancePolicy.ERASE:
        return frozenset(request_ids)
    return frozenset(connection.execute(_WITH_OTHERS, {"ids": listed(request_ids)}).scalars())
