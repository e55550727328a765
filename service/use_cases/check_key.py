"""Find out whose key is presented, or why it isn't taken."""

from __future__ import annotations

from sqlalchemy import text

from service.domain.api_key import Caller, KeyRefusal, StoredKey, parse_token, refusal_of
from service.storage.rows import database_now
from service.storage.stores import Stores


def check_key(stores: Stores, token: str) -> Caller | KeyRefusal:
    """The caller that a token stands for, by the database's clock; else the reason."""
    presented = parse_token(token)
    if presented is None:
        return KeyRefusal.MALFORMED
    with stores.engine.begin() as connection:
        now = database_now(connection)
        row = connection.execute(
            text("SELECT id, secret_hash, scopes, expires_at, revoked_at FROM api_keys WHERE prefix = :prefix"),
            {"prefix": presented.prefix},
        ).one_or_none()
    stored = None
    if row is not None:
        stored = StoredKey(row.id, bytes(row.secret_hash), frozenset(row.scopes), row.expires_at, row.revoked_at)
    refusal = refusal_of(stored, presented, now)
    if refusal is not None:
        return refusal
    if stored is None:
        raise AssertionError("an unknown key is always refused")
    return Caller(stored.id, stored.scopes)
