"""Authenticate API keys: return the caller of each presented key, or the reason why it is refused.

Several keys are checked with one statement, each by itself. Keys are read after they were presented and aren't cached,
so that a revoked key is refused from its revocation on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.access.store import find_keys
from service.domain.access.api_key import Caller, KeyRefusal, PresentedKey, StoredKey, parse_token, refusal_of
from service.store.stores import Stores


def check_keys(stores: Stores, tokens: Sequence[str]) -> list[Caller | KeyRefusal]:
    """Return the caller of each token, by the database's clock; else the reason of the refusal."""
    presented = [parse_token(token) for token in tokens]
    prefixes = {each.prefix for each in presented if each is not None}
    if not prefixes:
        return [KeyRefusal.MALFORMED for _ in tokens]
    now, stored = find_keys(stores, prefixes)
    return [KeyRefusal.MALFORMED if each is None else _judged(stored.get(each.prefix), each, now) for each in presented]


def _judged(stored: StoredKey | None, presented: PresentedKey, now: datetime) -> Caller | KeyRefusal:
    refusal = refusal_of(stored, presented, now)
    if refusal is not None:
        return refusal
    if stored is None:
        raise AssertionError("an unknown key is always refused")
    return Caller(stored.id, stored.scopes)
