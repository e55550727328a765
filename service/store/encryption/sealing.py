"""AES-256-GCM with bound context: a value that was sealed for one place can't be opened in another."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORM = b"\x01"
_NONCE_BYTES = 12


class SealBroken(Exception):  # noqa: N818 - says what is true
    """The sealed bytes don't belong to this key and context, or were changed."""


def seal(key: bytes, plain: bytes, context: str) -> bytes:
    """Seal `plain` under a 256-bit key for `context` (for example `request/<id>/identifier/<id>`)."""
    nonce = os.urandom(_NONCE_BYTES)
    return _FORM + nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """Open the result of `seal` with the same key and context.

    Raises SealBroken, which shows nothing of the content.
    """
    if sealed[:1] != _FORM:
        raise SealBroken("unknown form")
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, body, context.encode())
    except (InvalidTag, ValueError):
        raise SealBroken("wrong key, context or content") from None
