"""Revoke an API key: from the commit on it opens nothing."""

from __future__ import annotations

from sqlalchemy import text

from service.domain.errors import NotFound, WrongState
from service.store.audit_log.record_change import Change, change_rows
from service.store.locking import database_now, version_of
from service.store.stores import Stores


def revoke_key(stores: Stores, *, prefix: str, actor: str) -> None:
    """Revoke the key with this prefix. Raises NotFound; WrongState if it was revoked before."""
    with stores.engine.begin() as connection:
        row = connection.execute(
            text("SELECT * FROM api_keys WHERE prefix = :prefix FOR NO KEY UPDATE"), {"prefix": prefix}
        ).one_or_none()
        if row is None:
            raise NotFound("there is no key with this prefix")
        if row.revoked_at is not None:
            raise WrongState("the key was revoked already")
        now = database_now(connection)
        change = Change("key", str(row.id), version_of(row), "key_revoked")
        change_rows(connection, "key", "revoked_at = :now", {"now": now}, [change], actor=actor, at=now)
