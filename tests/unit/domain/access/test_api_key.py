"""API keys: their form, and when a presented key is the stored one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from service.domain.access.api_key import KeyRefusal, PresentedKey, StoredKey, hash_secret, parse_token, refusal_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = PresentedKey.from_entropy(bytes(range(5)), bytes(range(32)))
STORED = StoredKey(uuid4(), hash_secret(KEY.secret), frozenset(), NOW + timedelta(seconds=1), None)


def test_a_token_reads_back_and_never_prints_its_secret() -> None:
    assert parse_token(KEY.token()) == KEY
    assert len(KEY.prefix) == 8
    assert len(KEY.secret) == 43
    assert KEY.secret not in repr(KEY)
    assert hash_secret(KEY.secret).hex() not in repr(STORED)


@pytest.mark.parametrize(
    "text",
    ["", "xpg_", KEY.token() + "A", KEY.token() + "\n", " " + KEY.token(), KEY.token().upper(), "xpg_١" * 9],
)
def test_a_malformed_text_is_no_key(text: str) -> None:
    assert parse_token(text) is None


def test_only_whole_entropy_makes_a_key() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        PresentedKey.from_entropy(bytes(5), bytes(31))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (STORED, None),
        (None, KeyRefusal.UNKNOWN),
        (replace(STORED, secret_hash=hash_secret("another")), KeyRefusal.WRONG_SECRET),
        (replace(STORED, expires_at=NOW), KeyRefusal.EXPIRED),
        (replace(STORED, revoked_at=NOW), KeyRefusal.REVOKED),
    ],
)
def test_a_key_is_taken_only_while_it_lives(stored: StoredKey | None, expected: KeyRefusal | None) -> None:
    assert refusal_of(stored, KEY, NOW) is expected
