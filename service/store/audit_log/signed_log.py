"""The stored log as an anchor may ask about it, each question a short transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from service.domain.audit.anchor import SignedHead
from service.domain.audit.signed_note import TrustedKey
from service.store.audit_log.checkpoints import last_checkpoint
from service.store.audit_log.tree import consistency_proof, stored_root

_PUBLISHED = text("SELECT size FROM anchored_heads WHERE anchor = :anchor")
_REMEMBER = text(
    "INSERT INTO anchored_heads (anchor, size) VALUES (:anchor, :size)"
    " ON CONFLICT (anchor) DO UPDATE SET size = excluded.size, published_at = clock_timestamp()"
)
# Any numbers of our own.
_WAIT = text("SELECT pg_advisory_lock(7305816313)")
_TRY = text("SELECT pg_try_advisory_lock(7305816313)")
_RELEASE = text("SELECT pg_advisory_unlock(7305816313)")


class StoredLog:
    """Implements domain.anchor.SignedLog. Its calls raise AuditLogBroken where what is stored doesn't agree."""

    def __init__(self, engine: Engine, trusted: TrustedKey) -> None:
        self._engine = engine
        self._trusted = trusted

    def newest(self) -> SignedHead | None:
        """The newest signed head; None before the first."""
        with self._engine.begin() as connection:
            last = last_checkpoint(connection, self._trusted)
        return None if last is None else SignedHead(last.note, last.checkpoint)

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` entries, from stored hashes."""
        with self._engine.begin() as connection:
            return stored_root(connection, size)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """The RFC 6962 consistency proof between two sizes."""
        with self._engine.begin() as connection:
            return consistency_proof(connection, first, second)

    def trusted_key(self) -> TrustedKey:
        """The key that signs now, with those that signed before."""
        return self._trusted

    def published(self, anchor: str) -> int:
        """The size that was published to an anchor last, as far as the store remembers."""
        with self._engine.begin() as connection:
            return connection.execute(_PUBLISHED, {"anchor": anchor}).scalar_one_or_none() or 0


def remember_published(connection: Connection, anchor: str, size: int) -> None:
    """Note what an anchor has, after it said that it has it."""
    connection.execute(_REMEMBER, {"anchor": anchor, "size": size})


@contextmanager
def one_publisher(engine: Engine, *, waits: bool) -> Iterator[bool]:
    """True for the one process that may publish now, so that an anchor gets heads in their order.

    A lock of the session, on a connection without a transaction: anchors are other machines. With `waits` it is true
    always, sooner or later.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = connection.execute(_WAIT if waits else _TRY).scalar_one() is not False
        try:
            yield mine
        finally:
            if mine:
                connection.execute(_RELEASE)
