"""Keyed hashes: how an identifier is known after, or without, its value.

HMAC-SHA256 under the pepper, over kind and normal form. Still personal data (GDPR recital 26: who holds the pepper can
test a guess): access-controlled, never in the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from connectors.base.values import Identifier, Record


@dataclass(frozen=True)
class Pepper:
    """The secret of the keyed hashes; kept outside the database."""

    secret: bytes = field(repr=False)
    version: int = 1

    def of_identifier(self, identifier: Identifier) -> bytes:
        """The keyed hash of an identifier in normal form."""
        return self._hash(b"identifier", identifier.kind, identifier.value)

    def of_record(self, system: str, record: Record) -> bytes:
        """The keyed hash of a record id, which means something in its own system only."""
        return self._hash(b"record", f"{system}/{record.object}", record.id)

    def of_job(self, system: str, job: str) -> bytes:
        """The keyed hash of a vendor's name for one of its jobs, which means something in its own system only."""
        return self._hash(b"job", system, job)

    def derive(self, purpose: str) -> bytes:
        """A key of its own for another purpose."""
        return hmac.new(self.secret, b"derive\x00" + purpose.encode(), hashlib.sha256).digest()

    def _hash(self, label: bytes, kind: str, value: str) -> bytes:
        text = b"\x00".join((label, kind.encode(), value.encode("utf-8", "surrogatepass")))
        return hmac.digest(self.secret, text, "sha256")
