"""The form of an API key, its scopes, and the check of a presented key against the stored one.

Decides the form `xpg_<prefix>_<secret>`, the scopes, and how a secret is compared. The prefix identifies the key and
may be shown; the store keeps only a hash of the secret. SHA-256 suffices, because the secret has 256 random bits and
can't be guessed. Doesn't generate random numbers and doesn't know where keys are stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

PREFIX_BYTES = 5
SECRET_BYTES = 32
_FORM = re.compile(r"xpg_([a-z2-7]{8})_([A-Za-z0-9_-]{43})", re.ASCII)


class Scope(StrEnum):
    """One permission of an API key."""

    REQUESTS_SUBMIT = "requests:submit"
    REQUESTS_READ = "requests:read"
    REQUESTS_REVIEW = "requests:review"
    REQUESTS_APPROVE = "requests:approve"
    REQUESTS_REVEAL = "requests:reveal"
    HOLDS_WRITE = "holds:write"
    HOLDS_READ = "holds:read"
    SYSTEMS_READ = "systems:read"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    SUPPRESSIONS_CHECK = "suppressions:check"


@dataclass(frozen=True)
class Caller:
    """The API key of an authenticated call. The audit log names the key; a person or a program owns it."""

    key_id: UUID
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        """Return whether the key has this scope."""
        return scope in self.scopes

    @property
    def sees_all_requests(self) -> bool:
        """Return whether the key may read other keys' requests and see that two are about one person."""
        return self.may(Scope.REQUESTS_READ)

    @property
    def ends_only_of(self) -> UUID | None:
        """Return the only key whose requests and imports this caller may end; None: those of every key.

        To end means to revoke a request, or to pause or cancel an import.
        """
        return None if self.may(Scope.REQUESTS_REVIEW) else self.key_id

    @property
    def actor(self) -> str:
        """Return the caller's name in the audit log."""
        return f"key:{self.key_id}"


@dataclass(frozen=True)
class PresentedKey:
    """A key in two parts, presented by a caller or shown once after creation. Never prints its secret."""

    prefix: str
    secret: str = field(repr=False)

    @classmethod
    def from_entropy(cls, prefix: bytes, secret: bytes) -> PresentedKey:
        """Return a new key made of `PREFIX_BYTES` and `SECRET_BYTES` random bytes."""
        if len(prefix) != PREFIX_BYTES or len(secret) != SECRET_BYTES:
            raise ValueError("an API key is made of 5 and 32 random bytes")
        return cls(
            base64.b32encode(prefix).decode().lower(),
            base64.urlsafe_b64encode(secret).decode().rstrip("="),
        )

    def token(self) -> str:
        """Return the whole key, to be shown once."""
        return f"xpg_{self.prefix}_{self.secret}"


@dataclass(frozen=True)
class StoredKey:
    """The stored part of a key."""

    id: UUID
    secret_hash: bytes = field(repr=False)
    scopes: frozenset[str]
    expires_at: datetime
    revoked_at: datetime | None


class KeyRefusal(StrEnum):
    """The reason why a presented key is refused. For metrics only; the response doesn't name it."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a reason, no secret
    EXPIRED = "expired"
    REVOKED = "revoked"


def parse_token(text: str) -> PresentedKey | None:
    """Return the two parts of a key; None for a text that doesn't have the form of a key."""
    match = _FORM.fullmatch(text)
    return PresentedKey(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    """Return the hash under which a secret is stored."""
    return hashlib.sha256(b"expunge/api-key/v1\x00" + secret.encode()).digest()


def refusal_of(stored: StoredKey | None, presented: PresentedKey, now: datetime) -> KeyRefusal | None:
    """Return why this key is refused; None if it is accepted.

    The check of an unknown prefix takes as long as that of a wrong secret, so that its duration reveals no prefix.
    """
    same = hmac.compare_digest(stored.secret_hash if stored else bytes(32), hash_secret(presented.secret))
    if stored is None:
        return KeyRefusal.UNKNOWN
    if not same:
        return KeyRefusal.WRONG_SECRET
    if stored.revoked_at is not None:
        return KeyRefusal.REVOKED
    return KeyRefusal.EXPIRED if stored.expires_at <= now else None
