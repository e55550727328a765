"""Find out whose keys are presented, or why they aren't taken: several at once, each judged for itself.

What is answered was read after the key was presented. Nothing is kept for the next time: a revoked key is refused from
its revocation on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.domain.access.api_key import Caller, KeyRefusal, PresentedKey, StoredKey, parse_token, refusal_of
from service.store.arrays import Packed
from service.store.stores import Stores

# One row also where there are no such keys: the clock by which they would be judged.
_BY_PREFIX = (
    "SELECT clock_timestamp() AS now, k.id, k.prefix, k.secret_hash, k.scopes, k.expires_at, k.revoked_at"
    " FROM (SELECT 1) AS one LEFT JOIN api_keys k ON k.prefix = ANY(CAST(%(prefixes)s AS text[]))"
)


def check_keys(stores: Stores, tokens: Sequence[str]) -> list[Caller | KeyRefusal]:
    """The caller that each token stands for, by the database's clock; else the reason."""
    presented = [parse_token(token) for token in tokens]
    prefixes = {each.prefix for each in presented if each is not None}
    if not prefixes:
        return [KeyRefusal.MALFORMED for _ in tokens]
    rows = stores.statements.run(_BY_PREFIX, {"prefixes": Packed(prefixes)})
    now = rows[0].now
    stored = {
        row.prefix: StoredKey(row.id, bytes(row.secret_hash), frozenset(row.scopes), row.expires_at, row.revoked_at)
        for row in rows
        if row.id is not None
    }
    return [KeyRefusal.MALFORMED if each is None else _judged(stored.get(each.prefix), each, now) for each in presented]


def _judged(stored: StoredKey | None, presented: PresentedKey, now: datetime) -> Caller | KeyRefusal:
    refusal = refusal_of(stored, presented, now)
    if refusal is not None:
        return refusal
    if stored is None:
        raise AssertionError("an unknown key is always refused")
    return Caller(stored.id, stored.scopes)
