"""Find the requests that are held now: one condition for plan, lease, renewal and record."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from service.store.arrays import uuid_array
from service.store.execute import execute

_HELD = (
    "SELECT DISTINCT i.request_id FROM identifiers i"
    " JOIN hold_hashes hh ON hh.keyed_hash = i.keyed_hash"
    " JOIN holds h ON h.id = hh.hold_id"
    " WHERE i.request_id = ANY(CAST(:ids AS uuid[])) AND i.use IN ('planned', 'pending')"
    " AND h.lifted_at IS NULL AND (h.until IS NULL OR h.until > clock_timestamp())"
    # Asked once for all: most installations have no hold most of the time, and then nobody's identifiers are read.
    " AND EXISTS (SELECT 1 FROM holds WHERE lifted_at IS NULL)"
)


def held_requests(connection: Connection, request_ids: Sequence[UUID]) -> set[UUID]:
    """Return the requests with an identifier in their cluster that is under a hold in force."""
    if not request_ids:
        return set()
    return set(execute(connection, _HELD, {"ids": uuid_array(request_ids)}).scalars())
