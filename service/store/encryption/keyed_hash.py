"""Keyed hashes, by which an identifier is recognised without its value.

HMAC-SHA256 under the pepper, over kind and normal form. They are still personal data (GDPR recital 26: the holder of
the pepper can test a guess): access-controlled, never in the audit log.

Rotation adds a pepper and keeps the earlier ones: a hash of version 2 is HMAC(pepper 2, hash of version 1). So a stored
hash can be brought to the next version without the value, which was destroyed for sealed requests, and every hash in
the store is of one version: look-ups, holds and joins compare equal bytes. Testing a guess needs all peppers: if the
first one is disclosed, a second one protects the stored hashes from then on.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from connectors.base.values import Identifier, Record
from service.domain.requests.idempotency import body_fingerprint


@dataclass(frozen=True)
class Pepper:
    """The secrets of the keyed hashes: the first, and those added later, oldest first.

    They are kept outside the database.
    """

    secret: bytes = field(repr=False)
    added: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def version(self) -> int:
        """How many secrets there are."""
        return 1 + len(self.added)

    def of_identifier(self, identifier: Identifier) -> bytes:
        """The keyed hash of an identifier in normal form."""
        return self._hash(b"identifier", identifier.kind, identifier.value)

    def of_record(self, system: str, record: Record) -> bytes:
        """The keyed hash of a record id, which means something in its own system only."""
        return self._hash(b"record", f"{system}/{record.object}", record.id)

    def of_job(self, system: str, job: str) -> bytes:
        """The keyed hash of a vendor's name for one of its jobs, which means something in its own system only."""
        return self._hash(b"job", system, job)

    def of_body(self, canonical: bytes) -> bytes:
        """The keyed hash of a submission's canonical body, under a key of its own."""
        key = hmac.new(self.secret, b"derive\x00idempotency", hashlib.sha256).digest()
        return self.bring_up(body_fingerprint(key, canonical), since=1)

    def bring_up(self, stored: bytes, *, since: int) -> bytes:
        """The newest version of a hash that was stored as version `since`."""
        for secret in self.added[since - 1 :]:
            stored = hmac.digest(secret, stored, "sha256")
        return stored

    def check_values(self) -> list[bytes]:
        """One value for each version, by which a store knows its peppers. Says nothing about any hash."""
        return [hmac.digest(secret, b"expunge/pepper/check", "sha256") for secret in (self.secret, *self.added)]

    def _hash(self, label: bytes, kind: str, value: str) -> bytes:
        text = b"\x00".join((label, kind.encode(), value.encode("utf-8", "surrogatepass")))
        return self.bring_up(hmac.digest(self.secret, text, "sha256"), since=1)
