"""Read and write API keys. The caller writes a key's audit entries in the same transaction.

Decides nothing: `authenticate.py` says which key is valid, `create_key.py` how long it lives.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, DateTime, Text, any_, func, insert, literal_column, select, update

from service.domain.access.api_key import StoredKey
from service.store.arrays import BinaryArray, array_parameter
from service.store.audit_log.record_change import Version
from service.store.locking import version_of
from service.store.stores import Stores
from service.store.tables.access import ApiKeyRow

# One row also where no key has such a prefix, because the caller needs the database's clock.
_ONE = select(literal_column("1").label("one")).subquery("one")
_BY_PREFIX = select(
    func.clock_timestamp(type_=DateTime(timezone=True)).label("now"),
    ApiKeyRow.id,
    ApiKeyRow.prefix,
    ApiKeyRow.secret_hash,
    ApiKeyRow.scopes,
    ApiKeyRow.expires_at,
    ApiKeyRow.revoked_at,
).select_from(_ONE.outerjoin(ApiKeyRow, ApiKeyRow.prefix == any_(array_parameter("prefixes", Text()))))


@dataclass(frozen=True)
class NewKey:
    """A key to be written. Only the hash of its secret is stored."""

    id: UUID
    name: str
    prefix: str
    secret_hash: bytes = field(repr=False)
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class LockedKey:
    """A key whose row is locked until the transaction ends."""

    id: UUID
    revoked_at: datetime | None
    version: Version


@dataclass(frozen=True)
class ListedKey:
    """A key without its secret's hash."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


def find_keys(stores: Stores, prefixes: Collection[str]) -> tuple[datetime, dict[str, StoredKey]]:
    """Return the database's clock and the keys with these prefixes, by prefix."""
    rows = stores.autocommit.execute(_BY_PREFIX, {"prefixes": BinaryArray(prefixes)})
    return rows[0].now, {
        row.prefix: StoredKey(row.id, bytes(row.secret_hash), frozenset(row.scopes), row.expires_at, row.revoked_at)
        for row in rows
        if row.id is not None
    }


def insert_key(connection: Connection, key: NewKey) -> None:
    """Write a new key."""
    connection.execute(
        insert(ApiKeyRow).values(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            secret_hash=key.secret_hash,
            scopes=list(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )


def lock_key(connection: Connection, prefix: str) -> LockedKey | None:
    """Lock the key with this prefix until the transaction ends; None where there is none."""
    row = connection.execute(
        select(ApiKeyRow.id, ApiKeyRow.revoked_at, ApiKeyRow.version, ApiKeyRow.entry_hash)
        .where(ApiKeyRow.prefix == prefix)
        .with_for_update(key_share=True)
    ).one_or_none()
    return None if row is None else LockedKey(row.id, row.revoked_at, version_of(row))


def lock_version(connection: Connection, key_id: UUID) -> Version:
    """Lock an existing key until the transaction ends, and return its version in the audit log."""
    return version_of(
        connection.execute(
            select(ApiKeyRow.version, ApiKeyRow.entry_hash)
            .where(ApiKeyRow.id == key_id)
            .with_for_update(key_share=True)
        ).one()
    )


def write_revocation(connection: Connection, key_id: UUID, at: datetime) -> None:
    """Write when a locked key was revoked."""
    connection.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(revoked_at=at))


def read_keys(connection: Connection) -> list[ListedKey]:
    """Return all keys, newest first."""
    rows = connection.execute(
        select(
            ApiKeyRow.id,
            ApiKeyRow.name,
            ApiKeyRow.prefix,
            ApiKeyRow.scopes,
            ApiKeyRow.created_at,
            ApiKeyRow.expires_at,
            ApiKeyRow.revoked_at,
        ).order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
    )
    return [
        ListedKey(row.id, row.name, row.prefix, tuple(row.scopes), row.created_at, row.expires_at, row.revoked_at)
        for row in rows
    ]
