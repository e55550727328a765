"""Which lines of a set ask for people whom an unfinished request covers already, in the store or earlier in the set.

Decides by keyed hashes, as for a single submission: only where every identifier is verified on both sides. The graph
may find more later (settle_identity).
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from service.storage.import_gate import HALTED_IMPORTS
from service.use_cases.prepare_submission import CheckedSubmission, SealedSubmission

_OPEN_REQUESTS = text(
    "SELECT i.request_id, array_agg(i.keyed_hash) AS hashes FROM identifiers i JOIN requests r ON r.id = i.request_id"  # noqa: S608 - our own words
    " WHERE i.keyed_hash = ANY(CAST(:hashes AS bytea[])) AND i.use IN ('planned', 'pending')"
    " AND (i.verification_method IS NOT NULL OR i.use = 'planned')"
    " AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL"
    f" AND (r.import_id IS NULL OR r.import_id = :import OR r.import_id NOT IN ({HALTED_IMPORTS}))"
    " GROUP BY i.request_id, r.created_at ORDER BY r.created_at"
)


class Links:
    """Who covers whom: unfinished requests of the store, and earlier lines of the set."""

    def __init__(self, connection: Connection, import_id: UUID, verified: Sequence[CheckedSubmission]) -> None:
        hashes = {keyed_hash for checked in verified for keyed_hash in checked.keyed_hashes}
        rows = connection.execute(_OPEN_REQUESTS, {"hashes": list(hashes), "import": import_id}) if hashes else ()
        self._holders: dict[bytes, dict[UUID, None]] = {}
        for row in rows:
            self._add(row.request_id, [bytes(keyed_hash) for keyed_hash in row.hashes])

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
            self._holders.setdefault(keyed_hash, {})[request_id] = None
