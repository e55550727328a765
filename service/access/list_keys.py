"""List API keys: everything about them but their secrets, which nobody has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

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
        rows = connection.execute(text("SELECT * FROM api_keys ORDER BY created_at DESC, id")).all()
    return [
        KeyView(
            id=row.id,
            name=row.name,
            prefix=row.prefix,
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            state="revoked" if row.revoked_at is not None else "expired" if row.expires_at <= now else "active",
        )
        for row in rows
    ]
