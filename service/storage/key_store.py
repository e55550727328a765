"""The key store: data keys, wrapped, in a database of their own, so that its backups can be short-lived.

A destroyed key is gone from the row; a restored dump of the main database doesn't bring it back. Nothing here knows
what is sealed. Keys aren't cached: a destroyed key must be unusable at once in every process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Column, Connection, DateTime, Engine, LargeBinary, MetaData, Table, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.storage.packed import Packed
from service.storage.sealing import seal, unseal
from service.storage.statements import Statements

KEY_METADATA = MetaData()

data_keys = Table(
    "data_keys",
    KEY_METADATA,
    Column("owner", Text, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("wrapping_key_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), server_default=text("clock_timestamp()"), nullable=False),
)


_GET = "SELECT owner, wrapped FROM data_keys WHERE owner = ANY(CAST(%(owners)s AS text[]))"
# A server's start is its name: to the microsecond, no two have the same.
_CREATE_NEW = (
    "WITH how AS MATERIALIZED (SELECT set_config('synchronous_commit', CASE"
    " WHEN pg_postmaster_start_time() = CAST(%(server)s AS timestamptz) THEN 'off'"
    " ELSE current_setting('synchronous_commit') END, true))"
    " INSERT INTO data_keys (owner, wrapped, wrapping_key_id)"
    " SELECT o, w, %(kek)s FROM how, unnest(CAST(%(owners)s AS text[]), CAST(%(wrapped)s AS bytea[])) AS t(o, w)"
)


class KeyGone(Exception):  # noqa: N818 - says what is true
    """The key was destroyed, or never existed."""


class KeyWrapper(Protocol):
    """Wraps data keys: a key-encryption key in a file, or a KMS behind the same three names."""

    @property
    def id(self) -> str:
        """Names the key-encryption key, for rotation."""

    def wrap(self, key: bytes, owner: str) -> bytes:
        """Wrap a data key for its owner."""

    def unwrap(self, wrapped: bytes, owner: str) -> bytes:
        """Unwrap what `wrap` made for the same owner."""


class LocalKeyWrapper:
    """A key-encryption key that lives in this process, read from a file or the environment."""

    def __init__(self, secret: bytes, key_id: str = "local-1") -> None:
        if len(secret) != 32:
            raise ValueError("a key-encryption key has 32 bytes")
        self._secret = secret
        self._id = key_id

    @property
    def id(self) -> str:
        """Names the key-encryption key."""
        return self._id

    def wrap(self, key: bytes, owner: str) -> bytes:
        """Wrap a data key for its owner."""
        return seal(self._secret, key, f"data-key/{owner}")

    def unwrap(self, wrapped: bytes, owner: str) -> bytes:
        """Unwrap what `wrap` made for the same owner."""
        return unseal(self._secret, wrapped, f"data-key/{owner}")


class KeyStore:
    """Data keys by owner (`request/<id>`, `batch/<id>`). Every call is one statement in a transaction of its own."""

    def __init__(self, engine: Engine, wrapper: KeyWrapper) -> None:
        self._engine = engine
        self._statements = Statements(engine)
        self._wrapper = wrapper

    def create(self, owners: Sequence[str]) -> dict[str, bytes]:
        """New keys, durable before this returns. An owner that has a key already keeps it and gets that one."""
        fresh = {owner: os.urandom(32) for owner in owners}
        rows = [{"owner": o, "wrapped": self._wrapper.wrap(k, o)} for o, k in fresh.items()]
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO data_keys (owner, wrapped, wrapping_key_id)"
                    " SELECT o, w, :kek FROM unnest(:owners, :wrapped) AS t(o, w) ON CONFLICT (owner) DO NOTHING"
                ).bindparams(bindparam("owners", type_=ARRAY(Text)), bindparam("wrapped", type_=ARRAY(LargeBinary))),
                {
                    "owners": [r["owner"] for r in rows],
                    "wrapped": [r["wrapped"] for r in rows],
                    "kek": self._wrapper.id,
                },
            )
            return self._read(self._select(connection, owners))

    def create_new(self, owners: Sequence[str], *, server_started_at: datetime | None = None) -> dict[str, bytes]:
        """New keys for owners that are new themselves: one statement, nothing read. Durable before this returns, unless
        the server that started at `server_started_at` keeps this store as well.

        There it needn't be waited for: a server writes one log, in which a commit makes everything before it durable.
        The caller's own commit must be on that server, and fail on any other (new_requests does).
        """
        fresh = {owner: os.urandom(32) for owner in owners}
        values = {
            "owners": list(fresh),
            "wrapped": [self._wrapper.wrap(key, owner) for owner, key in fresh.items()],
            "kek": self._wrapper.id,
            "server": server_started_at,
        }
        if owners:
            self._statements.run(_CREATE_NEW, values)
        return fresh

    def get(self, owners: Sequence[str]) -> dict[str, bytes]:
        """The keys that still exist; an owner whose key was destroyed is missing from the answer."""
        if not owners:
            return {}
        rows = self._statements.run(_GET, {"owners": Packed(owners)})
        return self._read([(row.owner, row.wrapped) for row in rows])

    def one(self, owner: str) -> bytes:
        """The owner's key. Raises KeyGone."""
        key = self.get([owner]).get(owner)
        if key is None:
            raise KeyGone("the key was destroyed")
        return key

    def destroy(self, owners: Sequence[str]) -> None:
        """Destroy keys for good. Destroying twice is no error."""
        if not owners:
            return
        with self._engine.begin() as connection:
            connection.execute(
                text("DELETE FROM data_keys WHERE owner = ANY(:owners)").bindparams(
                    bindparam("owners", type_=ARRAY(Text))
                ),
                {"owners": list(owners)},
            )

    def owners_older_than(self, seconds: float, limit: int, *, after: str = "") -> list[str]:
        """Owners of keys made at least `seconds` ago, in their order behind `after`: where orphans are looked for."""
        with self._engine.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT owner FROM data_keys WHERE owner > :after"
                    " AND created_at < clock_timestamp() - make_interval(secs => :s) ORDER BY owner LIMIT :n"
                ),
                {"s": seconds, "n": limit, "after": after},
            )
            return [row[0] for row in rows]

    def _select(self, connection: Connection, owners: Sequence[str]) -> list[tuple[str, bytes]]:
        rows = connection.execute(
            text("SELECT owner, wrapped FROM data_keys WHERE owner = ANY(:owners)").bindparams(
                bindparam("owners", type_=ARRAY(Text))
            ),
            {"owners": list(owners)},
        )
        return [(row[0], bytes(row[1])) for row in rows]

    def _read(self, rows: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        return {owner: self._wrapper.unwrap(wrapped, owner) for owner, wrapped in rows}


def request_owner(request_id: object) -> str:
    """The key store's name for a request."""
    return f"request/{request_id}"


def batch_owner(batch_id: object) -> str:
    """The key store's name for a batch."""
    return f"batch/{batch_id}"
