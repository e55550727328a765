"""Keys that are in the configuration as `env:NAME` or `file:PATH`, as some platforms pass secrets.

`keys.audit_key` is the log's; `keys.audit_next_key` is the one that `expunge audit rotate-key` takes. After a rotation
the new one works under either name, so that the configuration may be tidied up at the next restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from service.store.key_services.interface import SigningKeyUnusable


class ConfiguredKeys:
    """One or two seeds of 32 bytes, the log's first."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        keys = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
        self._keys = {_id_of(key.public_key()): key for key in keys}
        self._ids = list(self._keys)

    def newest(self) -> str:
        """The log's own."""
        return self._ids[0]

    def create_next(self) -> str:
        """The one that was configured to follow."""
        if len(self._ids) < 2:
            raise SigningKeyUnusable("keys.audit_next_key: configure the key that shall follow, another than audit_key")
        return self._ids[1]

    def public_key(self, key_id: str) -> Ed25519PublicKey:
        """Raises SigningKeyUnusable for a key that isn't configured."""
        return self._one(key_id).public_key()

    def sign(self, key_id: str, message: bytes) -> bytes:
        """Raises SigningKeyUnusable for a key that isn't configured."""
        return self._one(key_id).sign(message)

    def _one(self, key_id: str) -> Ed25519PrivateKey:
        if key_id not in self._keys:
            raise SigningKeyUnusable("the log's key is neither keys.audit_key nor keys.audit_next_key")
        return self._keys[key_id]


def _id_of(public: Ed25519PublicKey) -> str:
    return f"configured:{hashlib.sha256(public.public_bytes_raw()).hexdigest()}"
