"""The interface of a key service, which signs by a key's id and never discloses the key; its signer.

Decides that no answer of a service is trusted: a signature that the key's public half doesn't verify is an error, not a
head.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class SigningKeyUnusable(Exception):  # noqa: N818 - says what is true of the key
    """The log's key can't be trusted or read, or its service can't sign.

    The message names the part and a code, never any content.
    """


class KeyService(Protocol):
    """Holds Ed25519 keys by id. Key ids hold no spaces. Every call may raise SigningKeyUnusable."""

    def newest(self) -> str:
        """Return the id of the newest key, with which a log begins."""

    def create_next(self) -> str:
        """Return the id of a key that no log has used, for a rotation.

        May be called again after a rotation that died.
        """

    def public_key(self, key_id: str) -> Ed25519PublicKey:
        """The key's public half."""

    def sign(self, key_id: str, message: bytes) -> bytes:
        """The 64 bytes of a plain Ed25519 signature."""


class ServiceSigner:
    """One key of a service, with the public half that was noted when the log took it."""

    def __init__(self, service: KeyService, key_id: str, public: Ed25519PublicKey) -> None:
        self._service = service
        self._public = public
        self.key_id = key_id

    def public_key(self) -> Ed25519PublicKey:
        """The public half, without asking anybody."""
        return self._public

    def sign(self, data: bytes, /) -> bytes:
        """A signature that was verified. Raises SigningKeyUnusable."""
        signature = self._service.sign(self.key_id, data)
        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            raise SigningKeyUnusable("the key service signed with another key than the log's") from None
        return signature
