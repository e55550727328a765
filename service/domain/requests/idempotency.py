"""Decides what an idempotency key or a caller's own reference looks like, and when two bodies are the same request.

A body is remembered by a keyed hash only: it names the person, and a bare hash of an email address can be guessed.
Where keys are kept, and how a repeated request is answered, is the use case's business.
"""

from __future__ import annotations

import hashlib
import hmac
import re

MIN_PEPPER_BYTES = 32

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Apart from every other use of the same pepper: a fingerprint can't be looked up among suppression hashes.
_PURPOSE = b"expunge/idempotency/body/v1\x00"


class InvalidKey(ValueError):  # noqa: N818 - says what is true
    """Not a key: 1 to 64 letters, digits, `_` and `-`. Anything freer, such as an email, would end in logs."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"{field} must be 1 to 64 characters out of A-Z, a-z, 0-9, _ and -")


def parse_key(text: str, field: str = "idempotency key") -> str:
    """The key or reference itself. Raises InvalidKey, which names `field` and doesn't repeat the text."""
    if not _KEY.fullmatch(text):
        raise InvalidKey(field)
    return text


def body_fingerprint(pepper: bytes, body: bytes) -> bytes:
    """32 bytes, HMAC-SHA256 over the canonical form of a request body; raises ValueError for a short pepper."""
    if len(pepper) < MIN_PEPPER_BYTES:
        raise ValueError(f"the pepper must have at least {MIN_PEPPER_BYTES} bytes")
    return hmac.new(pepper, _PURPOSE + body, hashlib.sha256).digest()


def is_same_body(one: bytes, other: bytes) -> bool:
    """Whether two fingerprints are of the same body, compared in constant time."""
    return hmac.compare_digest(one, other)
