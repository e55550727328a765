"""Find out whose key is presented, or why it isn't taken."""

from __future__ import annotations

from service.domain.api_key import Caller, KeyRefusal, StoredKey, parse_token, refusal_of
from service.storage.stores import Stores

# One row also where there is no such key: the clock by which it would be judged.
_BY_PREFIX = (
    "SELECT clock_timestamp() AS now, k.id, k.secret_hash, k.scopes, k.expires_at, k.revoked_at"
    " FROM (SELECT 1) AS one LEFT JOIN api_keys k ON k.prefix = %(prefix)s"
)


def check_key(stores: Stores, token: str) -> Caller | KeyRefusal:
    """The caller that a token stands for, by the database's clock; else the reason."""
    presented = parse_token(token)
    if presented is None:
        return KeyRefusal.MALFORMED
    (row,) = stores.statements.run(_BY_PREFIX, {"prefix": presented.prefix})
    stored = None
    if row.id is not None:
        stored = StoredKey(row.id, bytes(row.secret_hash), frozenset(row.scopes), row.expires_at, row.revoked_at)
    refusal = refusal_of(stored, presented, row.now)
    if refusal is not None:
        return refusal
    if stored is None:
        raise AssertionError("an unknown key is always refused")
    return Caller(stored.id, stored.scopes)
