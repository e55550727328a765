"""What an API key looks like, what it may do, and when a presented one is the stored one.

Decides the form `xpg_<prefix>_<secret>`, the scopes, and how a secret is compared. The prefix names the key and may be
shown; of the secret only a hash is kept. SHA-256 suffices: the secret has 256 random bits, nobody guesses it. Doesn't
draw random numbers and doesn't know where keys are kept.
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
    """What a key may do."""

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


@dataclass(frozen=True)
class Caller:
    """Whose key was presented. What is audited is the key, which belongs to a named person or program."""

    key_id: UUID
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope."""
        return scope in self.scopes

    @property
    def sees_all_requests(self) -> bool:
        """Whether the key may learn of other keys' requests, and that two requests are about one person."""
        return self.may(Scope.REQUESTS_READ)

    @property
    def ends_only_of(self) -> UUID | None:
        """Whose requests and imports the key may revoke, pause or cancel: this key's only; None: everybody's."""
        return None if self.may(Scope.REQUESTS_REVIEW) else self.key_id

    @property
    def actor(self) -> str:
        """The caller as the audit log names it."""
        return f"key:{self.key_id}"


@dataclass(frozen=True)
class PresentedKey:
    """A key in two parts, as somebody presented it or as it is shown once. Never prints its secret."""

    prefix: str
    secret: str = field(repr=False)

    @classmethod
    def from_entropy(cls, prefix: bytes, secret: bytes) -> PresentedKey:
        """A new key from `PREFIX_BYTES` and `SECRET_BYTES` random bytes."""
        if len(prefix) != PREFIX_BYTES or len(secret) != SECRET_BYTES:
            raise ValueError("an API key is made of 5 and 32 random bytes")
        return cls(
            base64.b32encode(prefix).decode().lower(),
            base64.urlsafe_b64encode(secret).decode().rstrip("="),
        )

    def token(self) -> str:
        """The whole key, to be shown once."""
        return f"xpg_{self.prefix}_{self.secret}"


@dataclass(frozen=True)
class StoredKey:
    """What is kept of a key."""

    id: UUID
    secret_hash: bytes = field(repr=False)
    scopes: frozenset[str]
    expires_at: datetime
    revoked_at: datetime | None


class KeyRefusal(StrEnum):
    """Why a presented key isn't taken. For our metrics; the caller is told nothing of it."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a reason, no secret
    EXPIRED = "expired"
    REVOKED = "revoked"


def parse_token(text: str) -> PresentedKey | None:
    """The two parts of a key; None for anything that has not the form of one."""
    match = _FORM.fullmatch(text)
    return PresentedKey(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(b"expunge/api-key/v1\x00" + secret.encode()).digest()


def refusal_of(stored: StoredKey | None, presented: PresentedKey, now: datetime) -> KeyRefusal | None:
    """Why this key isn't taken; None if it is. An unknown prefix takes as long as a wrong secret."""
    same = hmac.compare_digest(stored.secret_hash if stored else bytes(32), hash_secret(presented.secret))
    if stored is None:
        return KeyRefusal.UNKNOWN
    if not same:
        return KeyRefusal.WRONG_SECRET
    if stored.revoked_at is not None:
        return KeyRefusal.REVOKED
    return KeyRefusal.EXPIRED if stored.expires_at <= now else None
