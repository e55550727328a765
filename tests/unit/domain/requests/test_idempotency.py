"""Keys that are safe to log, and fingerprints that don't give a body away."""

import hashlib
import hmac

import pytest

from service.domain.requests.idempotency import InvalidKey, body_fingerprint, is_same_body, parse_key

PEPPER = bytes(range(32))


@pytest.mark.parametrize("key", ["a", "A-9_z", "x" * 64, "01J9Z3-ticket_42"])
def test_keys(key: str) -> None:
    assert parse_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 65, "ada@example.test", "a b", "a\n", "ключ", "a/b", "a.b"])
def test_a_malformed_key_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_key(key, "reference")
    assert caught.value.field == "reference"
    assert str(caught.value) == "reference must be 1 to 64 characters out of A-Z, a-z, 0-9, _ and -"


def test_the_fingerprint_is_a_keyed_hash_with_a_purpose_of_its_own() -> None:
    body = b'{"email":"ada@example.test"}'
    expected = hmac.new(PEPPER, b"expunge/idempotency/body/v1\x00" + body, hashlib.sha256).digest()
    assert body_fingerprint(PEPPER, body) == expected
    assert body_fingerprint(PEPPER, body) not in {
        hashlib.sha256(body).digest(),
        hmac.new(PEPPER, body, hashlib.sha256).digest(),
        body_fingerprint(PEPPER[::-1], body),
        body_fingerprint(PEPPER, body + b" "),
    }


def test_same_body() -> None:
    one, other = body_fingerprint(PEPPER, b"{}"), body_fingerprint(PEPPER, b"[]")
    assert is_same_body(one, body_fingerprint(PEPPER, b"{}"))
    assert not is_same_body(one, other)


def test_a_short_pepper_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        body_fingerprint(PEPPER[:31], b"{}")
