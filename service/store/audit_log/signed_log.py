"""The stored log as an anchor may ask about it, each question a short transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from service.domain.audit.anchor import SignedHead
from service.domain.audit.signed_note import TrustedKey
from service.store.audit_log.checkpoints import last_checkpoint
from service.store.audit_log.tree import consistency_proof, stored_root
from service.store.execute import execute
from service.store.tables.anchors import AnchoredHeadRow

_PUBLISHED = select(AnchoredHeadRow.size).where(AnchoredHeadRow.anchor == bindparam("anchor"))
_ADDED = insert(AnchoredHeadRow).values(anchor=bindparam("anchor"), size=bindparam("size"))
_REMEMBER = _ADDED.on_conflict_do_update(
    index_elements=["anchor"], set_={"size": _ADDED.excluded.size, "published_at": func.clock_timestamp()}
)
_PUBLISHER = 7305816313
"""The number of the advisory lock; chosen by us, and used for nothing else."""
_WAIT = select(func.pg_advisory_lock(_PUBLISHER))
_TRY = select(func.pg_try_advisory_lock(_PUBLISHER))
_RELEASE = select(func.pg_advisory_unlock(_PUBLISHER))


class StoredLog:
    """The stored log for its anchors: implements domain.anchor.SignedLog.

    Its calls raise AuditLogBroken where stored values don't agree.
    """

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
            row = execute(connection, _PUBLISHED, {"anchor": anchor}).one_or_none()
        return 0 if row is None else row.size


def remember_published(connection: Connection, anchor: str, size: int) -> None:
    """Write the size that an anchor has, after the anchor confirmed it."""
    execute(connection, _REMEMBER, {"anchor": anchor, "size": size})


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
