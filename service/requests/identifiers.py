"""Seal and open identifiers of requests, each bound to its row by the context of its seal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.values import Identifier, Record
from service.requests.identity.store import SealedPerson, read_sealed
from service.store.encryption.key_store import request_owner
from service.store.encryption.sealing import seal, unseal


@dataclass(frozen=True)
class StoredIdentifier:
    """An identifier of a request with its row's facts; `identifier` is None where it wasn't opened."""

    id: UUID
    request_id: UUID
    origin: str
    kind: str
    keyed_hash: bytes = field(repr=False)
    use: str
    exclusion: str | None
    verification_method: str | None
    verified_at: datetime | None
    identifier: Identifier | None = None


def seal_identifier(key: bytes, request_id: UUID, row_id: UUID, value: str) -> bytes:
    """Seal one value for its row."""
    return seal(key, value.encode("utf-8", "surrogatepass"), _identifier_context(request_id, row_id))


def read_identifiers(
    connection: Connection, request_ids: Sequence[UUID], keys: Mapping[str, bytes] | None
) -> dict[UUID, list[StoredIdentifier]]:
    """Return all identifiers of these requests, opened where the value and the request's key are there."""
    found: dict[UUID, list[StoredIdentifier]] = {request_id: [] for request_id in request_ids}
    for row in read_sealed(connection, found):
        key = (keys or {}).get(request_owner(row.request_id))
        identifier = None
        if key is not None and row.sealed is not None:
            value = unseal(key, row.sealed, _identifier_context(row.request_id, row.id))
            identifier = Identifier(row.kind, value.decode("utf-8", "surrogatepass"))
        found[row.request_id].append(
            StoredIdentifier(
                id=row.id,
                request_id=row.request_id,
                origin=row.origin,
                kind=row.kind,
                keyed_hash=row.keyed_hash,
                use=row.use,
                exclusion=row.exclusion,
                verification_method=row.verification_method,
                verified_at=row.verified_at,
                identifier=identifier,
            )
        )
    return found


class OpenIdentifier(NamedTuple):
    """An opened identifier, and what it may be used for."""

    identifier: Identifier
    use: str
    exclusion: str | None


def open_people(people: Iterable[SealedPerson], keys: Mapping[UUID, bytes]) -> dict[UUID, list[OpenIdentifier]]:
    """Open the rows of `read_people`, for the requests whose keys are in `keys`."""
    found: dict[UUID, list[OpenIdentifier]] = {request_id: [] for request_id in keys}
    contexts = {request_id: f"request/{request_id}/identifier/" for request_id in keys}
    for request_id, row_id, kind, sealed, use, exclusion in people:
        if request_id not in keys:
            continue
        value = unseal(keys[request_id], sealed, contexts[request_id] + row_id)
        identifier = Identifier(kind, value.decode("utf-8", "surrogatepass"))
        found[request_id].append(OpenIdentifier(identifier, use, exclusion))
    return found


def seal_records(key: bytes, step_id: UUID, records: Iterable[Record]) -> bytes:
    """Seal a step's record ids as one value."""
    plain = json.dumps([[r.object, r.id] for r in records], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return seal(key, plain, f"step/{step_id}/records")


def unseal_records(key: bytes, step_id: UUID, sealed: bytes | None) -> tuple[Record, ...]:
    """Open what `seal_records` made; nothing sealed means no records."""
    if sealed is None:
        return ()
    plain = unseal(key, sealed, f"step/{step_id}/records").decode("utf-8", "surrogatepass")
    return tuple(Record(name, record_id) for name, record_id in json.loads(plain))


def _identifier_context(request_id: UUID, row_id: UUID) -> str:
    return f"request/{request_id}/identifier/{row_id}"
