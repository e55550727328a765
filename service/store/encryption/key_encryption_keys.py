"""Key-encryption keys: the newest wraps and all unwrap, so that one can be replaced at any time.

A key-encryption key is named by a keyed hash of itself, never by its position in the configuration.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from service.store.encryption.sealing import SealBroken, seal, unseal

_BYTES = 32


class UnknownKeyEncryptionKey(Exception):  # noqa: N818 - says what is true
    """Nothing configured is the key-encryption key that wrapped this."""


class KeyEncryptionKeys:
    """The keys of this installation, newest first, read again when one of them is unknown.

    `read` returns the secrets, newest first, each of 32 bytes; it may return others than before because
    `expunge encryption rotate-kek` replaces a generated key while processes run.
    """

    def __init__(self, read: Callable[[], Sequence[bytes]]) -> None:
        self._read = read
        self._secrets: dict[str, bytes] = {}
        self.read_again()

    def read_again(self) -> None:
        """Read the secrets anew."""
        secrets = self._read()
        if not secrets or any(len(secret) != _BYTES for secret in secrets):
            raise ValueError("a key-encryption key has 32 bytes")
        self._secrets = {_name_of(secret): secret for secret in secrets}

    @property
    def newest(self) -> str:
        """The id of the key that wraps."""
        return next(iter(self._secrets))

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """The id of the newest key, and `key` sealed under it."""
        return self.newest, seal(self._secrets[self.newest], key, context)

    def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Open the result of `wrap`. Raises UnknownKeyEncryptionKey, SealBroken."""
        if key_id not in self._secrets:
            self.read_again()
        if key_id not in self._secrets:
            raise UnknownKeyEncryptionKey(key_id)
        return unseal(self._secrets[key_id], wrapped, context)

    def unwrap_with_any(self, wrapped: bytes, context: str) -> bytes:
        """Open what is sealed under one of the keys, of which it isn't recorded which. Raises SealBroken."""
        for secret in list(self._secrets.values()):
            try:
                return unseal(secret, wrapped, context)
            except SealBroken:
                continue
        raise SealBroken("under none of the key-encryption keys")


def fixed_keys(*secrets: bytes) -> KeyEncryptionKeys:
    """Keys that never change while the process runs, newest first."""
    return KeyEncryptionKeys(lambda: secrets)


def _name_of(secret: bytes) -> str:
    return "kek-" + hmac.new(secret, b"name of a key-encryption key", hashlib.sha256).hexdigest()[:16]
