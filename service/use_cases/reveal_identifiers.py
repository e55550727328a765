"""Show a request's identifiers in clear, to a key that may, once the log says that it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from service.domain.refusals import Sealed
from service.storage.changes import log_changes
from service.storage.key_store import KeyGone, request_owner
from service.storage.rows import database_now, lock_request
from service.storage.sealed_identifiers import read_identifiers
from service.storage.stores import Stores
from service.use_cases.lock_request import request_change


@dataclass(frozen=True)
class RevealedIdentifier:
    """An identifier in clear. Its value never prints."""

    id: UUID
    kind: str
    value: str = field(repr=False)
    origin: str
    use: str
    exclusion: str | None


def reveal_identifiers(stores: Stores, request_id: UUID, *, actor: str) -> list[RevealedIdentifier]:
    """The values, returned after the entry is committed. Raises NotFound; Sealed once they are gone."""
    owner = request_owner(request_id)
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        if row.sealed_at is not None:
            raise Sealed("the request is sealed: its values are gone")
        try:
            keys = {owner: stores.keys.one(owner)}
        except KeyGone:
            raise Sealed("the request's key was destroyed: its values are gone") from None
        stored = read_identifiers(connection, [request_id], keys)[request_id]
        change = request_change(row, "evidence_read", what="identifiers", found=len(stored))
        log_changes(connection, [change], actor=actor, at=database_now(connection))
    return [
        RevealedIdentifier(i.id, i.kind, i.identifier.value, i.origin, i.use, i.exclusion)
        for i in stored
        if i.identifier is not None
    ]
