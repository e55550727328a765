"""List API keys with everything but their secrets, which aren't stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.access.store import read_keys
from service.store.locking import database_now
from service.store.stores import Stores


@dataclass(frozen=True)
class KeyView:
    """A key; `state` is `active`, `expired` or `revoked`."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    state: str


def list_keys(stores: Stores) -> list[KeyView]:
    """All keys, newest first."""
    with stores.engine.begin() as connection:
        now = database_now(connection)
        keys = read_keys(connection)
    return [
        KeyView(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=key.scopes,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            state="revoked" if key.revoked_at is not None else "expired" if key.expires_at <= now else "active",
        )
        for key in keys
    ]
