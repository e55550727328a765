"""Identifiers of requests, in and out of their seals. Knows the context that binds each value to its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.values import Identifier, Record
from service.store.arrays import listed
from service.store.encryption.key_store import request_owner
from service.store.encryption.sealing import seal, unseal
from service.store.execute import run


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


_OF_REQUESTS = (
    "SELECT id, request_id, origin, kind, sealed, keyed_hash, use, exclusion, verification_method, verified_at"
    " FROM identifiers WHERE request_id = ANY(CAST(:ids AS uuid[])) ORDER BY request_id, id"
)


def read_identifiers(
    connection: Connection, request_ids: Sequence[UUID], keys: Mapping[str, bytes] | None
) -> dict[UUID, list[StoredIdentifier]]:
    """All identifiers of these requests; opened where `keys` holds the request's key and the value isn't gone."""
    found: dict[UUID, list[StoredIdentifier]] = {request_id: [] for request_id in request_ids}
    for row in run(connection, _OF_REQUESTS, {"ids": listed(found)}).all():
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


_PEOPLE = (
    "SELECT request_id, id::text AS id, kind, sealed, use, exclusion FROM identifiers"
    " WHERE request_id = ANY(CAST(:ids AS uuid[])) AND sealed IS NOT NULL ORDER BY request_id, id"
)


def read_people(connection: Connection, request_ids: Iterable[UUID]) -> list[Any]:
    """The identifiers of these requests as they are stored, for `open_people`; those whose values are gone are left
    out."""
    return run(connection, _PEOPLE, {"ids": listed(request_ids)}).all()


def open_people(people: Iterable[Any], keys: Mapping[UUID, bytes]) -> dict[UUID, list[OpenIdentifier]]:
    """Open what `read_people` found, for the requests whose keys are here."""
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
