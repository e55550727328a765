"""Show a request's identifiers in clear, to a key that may, once the log says that it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from service.domain.errors import Sealed, WrongState
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.show import EdgeView, Picture, read_picture
from service.requests.records.rows import request_change
from service.requests.records.store import lock_request
from service.store.audit_log.record_change import log_changes
from service.store.encryption.key_store import KeyGone, KeyLost, request_owner
from service.store.locking import database_now
from service.store.stores import Stores


@dataclass(frozen=True)
class RevealedIdentifier:
    """An identifier in clear. Its value never prints.

    `path`: the links that lead to it from a verified identifier.
    """

    id: UUID
    ordinal: int
    kind: str
    value: str = field(repr=False)
    origin: str
    use: str
    exclusion: str | None
    path: list[EdgeView]


@dataclass(frozen=True)
class RevealedBeyond:
    """An identifier in clear that the walk met and left out, and that a doubt is about."""

    ordinal: int
    kind: str
    value: str = field(repr=False)
    exclusion: str


@dataclass(frozen=True)
class Revealed:
    """The whole picture of a request's identity in clear."""

    picture: Picture
    identifiers: list[RevealedIdentifier] = field(repr=False)
    beyond: list[RevealedBeyond] = field(repr=False)
    doubts_version: int = 0


def reveal_identifiers(stores: Stores, request_id: UUID, *, actor: str) -> Revealed:
    """The values, returned after the entry is committed.

    Raises NotFound; Sealed once they are gone; WrongState if their key is lost with its epoch.
    """
    owner = request_owner(request_id)
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        if row.sealed_at is not None:
            raise Sealed("the request is sealed: its values are gone")
        try:
            keys = {owner: stores.keys.one(owner)}
        except KeyLost:
            raise WrongState("the request's key is lost with its encryption epoch: not sealed, not readable") from None
        except KeyGone:
            raise Sealed("the request's key was destroyed: its values are gone") from None
        stored = read_identifiers(connection, [request_id], keys)[request_id]
        picture = read_picture(connection, row, stored, keys)
        found = len(stored) + len(picture.beyond)
        change = request_change(row, "evidence_read", what="identifiers", found=found)
        log_changes(connection, [change], actor=actor, at=database_now(connection))
    return Revealed(
        picture,
        [revealed for each in stored if (revealed := _revealed(each, picture)) is not None],
        [_beyond(picture, ordinal, why) for ordinal, why in picture.beyond.items()],
        row.doubts_version,
    )


def _revealed(stored: StoredIdentifier, picture: Picture) -> RevealedIdentifier | None:
    identifier, ordinal = stored.identifier, picture.ordinal(stored.identifier)
    if identifier is None or ordinal is None:
        return None
    path = picture.path_to(identifier)
    return RevealedIdentifier(
        stored.id, ordinal, stored.kind, identifier.value, stored.origin, stored.use, stored.exclusion, path
    )


def _beyond(picture: Picture, ordinal: int, why: str) -> RevealedBeyond:
    identifier = picture.explanation.identifier(ordinal)
    return RevealedBeyond(ordinal, identifier.kind, identifier.value, why)
