"""Decides the form of idempotency keys and callers' references, and when two bodies are equal.

Only a keyed hash of a body is stored, because the body has the person's identifiers and a plain hash of an email
address can be guessed. Doesn't decide where keys are stored or how a repeated request is answered
(`service.requests.intake`).
"""

from __future__ import annotations

import hashlib
import hmac
import re

MIN_PEPPER_BYTES = 32

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Separates the uses of one pepper, so that a fingerprint can't be compared with suppression hashes.
_PURPOSE = b"expunge/idempotency/body/v1\x00"


class InvalidKey(ValueError):  # noqa: N818 - says what is true
    """The text isn't a key: 1 to 64 letters, digits, `_` and `-`.

    Other texts, such as an email address, are refused, because logs contain keys.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"{field} must be 1 to 64 characters out of A-Z, a-z, 0-9, _ and -")


def parse_key(text: str, field: str = "idempotency key") -> str:
    """Return the key or reference. Raises InvalidKey, which names `field` and doesn't repeat the text."""
    if not _KEY.fullmatch(text):
        raise InvalidKey(field)
    return text


def body_fingerprint(pepper: bytes, body: bytes) -> bytes:
    """Return 32 bytes, HMAC-SHA256 over a body's canonical form. Raises ValueError for a short pepper."""
    if len(pepper) < MIN_PEPPER_BYTES:
        raise ValueError(f"the pepper must have at least {MIN_PEPPER_BYTES} bytes")
    return hmac.new(pepper, _PURPOSE + body, hashlib.sha256).digest()


def is_same_body(one: bytes, other: bytes) -> bool:
    """Return whether two fingerprints are of the same body; the comparison takes constant time."""
    return hmac.compare_digest(one, other)
