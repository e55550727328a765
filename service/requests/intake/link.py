"""Which submissions of a set ask for people whom an unfinished request covers already, in the store or earlier in it.

Decides by keyed hashes: only where every identifier is verified on both sides. The graph may find more later
(settle_identity).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from service.requests.imports.paused import HALTED_IMPORTS
from service.requests.intake.validate import CheckedSubmission, SealedSubmission
from service.store.arrays import Packed, listed

# OFFSET 0 keeps the loops: one look into each index for each hash. Without it a plan that a connection made while the
# tables were small, and keeps, reads all identifiers every time: 11 ms instead of 0.2 at 5,000 (measured 2026-11-22).
OPEN_REQUESTS = (
    "SELECT i.request_id, r.created_at, array_agg(h.hash) AS hashes"  # noqa: S608 - our own words
    " FROM unnest(CAST(%(hashes)s AS bytea[])) AS h(hash) CROSS JOIN LATERAL ("
    " SELECT request_id FROM identifiers WHERE keyed_hash = h.hash AND use IN ('planned', 'pending')"
    " AND (verification_method IS NOT NULL OR use = 'planned') OFFSET 0) AS i CROSS JOIN LATERAL ("
    " SELECT created_at FROM requests WHERE id = i.request_id AND state IN ('open', 'in_progress')"
    " AND linked_to IS NULL AND (import_id IS NULL OR import_id = CAST(%(import)s AS uuid)"
    f" OR import_id NOT IN ({HALTED_IMPORTS})) OFFSET 0) AS r GROUP BY i.request_id, r.created_at"
)
"""Rows of Holder: unfinished requests, and which of the asked hashes each of them covers. Its values: open_requests."""


class Holder(NamedTuple):
    """An unfinished request and hashes that it covers."""

    request_id: UUID
    created_at: datetime
    hashes: Sequence[bytes]


def values_of(submissions: Iterable[CheckedSubmission], import_id: UUID | None = None) -> dict[str, Any]:
    """The values of OPEN_REQUESTS for a set; its own import isn't halted for it."""
    hashes = {keyed_hash for checked in submissions if checked.is_verified for keyed_hash in checked.keyed_hashes}
    return {"hashes": Packed(hashes) if hashes else listed(()), "import": import_id}


def open_requests(
    connection: Connection, submissions: Iterable[CheckedSubmission], import_id: UUID | None = None
) -> list[Holder]:
    """Who covers what of these, in the caller's transaction."""
    rows = connection.exec_driver_sql(OPEN_REQUESTS, values_of(submissions, import_id))
    return [Holder(*row) for row in rows]


class Links:
    """Who covers whom: unfinished requests of the store, and earlier submissions of the set."""

    def __init__(self, holders: Iterable[Holder]) -> None:
        self._holders: dict[bytes, dict[UUID, None]] = {}
        for holder in sorted(holders, key=lambda each: each.created_at):
            self._add(holder.request_id, holder.hashes)

    def of(self, sealed: SealedSubmission) -> UUID | None:
        """The earliest unfinished request that has every identifier of this one, if each is verified here too."""
        hashes = sealed.checked.keyed_hashes
        if sealed.checked.is_verified:
            first, *others = (self._holders.get(keyed_hash, {}) for keyed_hash in hashes)
            for request_id in first:
                if all(request_id in holders for holders in others):
                    return request_id
        pairs = zip(hashes, sealed.checked.identifiers, strict=True)
        self._add(sealed.request_id, [h for h, (_, submitted) in pairs if submitted.verification_method is not None])
        return None

    def _add(self, request_id: UUID, hashes: Sequence[bytes]) -> None:
        for keyed_hash in hashes:
            self._holders.setdefault(bytes(keyed_hash), {})[request_id] = None
