"""The key store: data keys, wrapped, in a database of their own, so that its backups can be short-lived.

A data key is wrapped under the key of the current encryption epoch, which is kept outside the database (`key_epochs`,
`epoch_secrets`). Deleting a row removes the key from the database's answers; destroying the epoch key makes the bytes
worthless that disk, WAL and backups still hold. Nothing here knows what is sealed. Data keys aren't cached: a deleted
key must be unusable at once in every process. Epoch keys are cached, so that wrapping costs no look outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from service.domain.encryption.epochs import EncryptionEpoch, EpochState
from service.store.arrays import BinaryArray
from service.store.autocommit import Autocommit
from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable, EpochSecrets
from service.store.encryption.key_encryption_keys import KeyEncryptionKeys
from service.store.encryption.key_epochs import KeyEpochs
from service.store.encryption.sealing import SealBroken, seal, unseal

log = structlog.get_logger(__name__)

WITHOUT_EPOCH = "local-1"
"""`wrapping_key_id` of rows from before there were epochs: wrapped under the key-encryption key itself."""

_CACHED_EPOCHS = 2
_ROTATIONS_AT_MOST = 5
_GET = "SELECT owner, wrapped, wrapping_key_id FROM data_keys WHERE owner = ANY(CAST(%(owners)s AS text[]))"
# The fence of `key_epochs`: writes nothing if the epoch isn't current.
_IF_CURRENT = (
    "epoch AS MATERIALIZED (SELECT 1 FROM key_epochs WHERE id = CAST(%(epoch)s AS uuid) AND state = 'current')"
)
# A server's start is its name: to the microsecond, no two have the same.
_CREATE_NEW = (
    f"WITH {_IF_CURRENT}, how AS MATERIALIZED (SELECT set_config('synchronous_commit', CASE"  # noqa: S608 - our words
    " WHEN pg_postmaster_start_time() = CAST(%(server)s AS timestamptz) THEN 'off'"
    " ELSE current_setting('synchronous_commit') END, true)),"
    " made AS (INSERT INTO data_keys (owner, wrapped, wrapping_key_id)"
    " SELECT o, w, %(epoch)s FROM how, epoch,"
    " unnest(CAST(%(owners)s AS text[]), CAST(%(wrapped)s AS bytea[])) AS t(o, w) RETURNING 1)"
    " SELECT count(*) AS made FROM made"
)
_CREATE = (
    f"WITH {_IF_CURRENT}"  # noqa: S608 - our own words
    " INSERT INTO data_keys (owner, wrapped, wrapping_key_id) SELECT o, w, %(epoch)s FROM epoch,"
    " unnest(CAST(%(owners)s AS text[]), CAST(%(wrapped)s AS bytea[])) AS t(o, w) ON CONFLICT (owner) DO NOTHING"
)
_TO_REWRAP = (
    "SELECT owner, wrapped, wrapping_key_id FROM data_keys WHERE owner > %(after)s AND wrapping_key_id <> %(epoch)s"
    " AND wrapping_key_id <> ALL (ARRAY(SELECT id::text FROM key_epochs WHERE state = 'lost'))"
    # A key that is just being deleted is left alone, so this never waits for another transaction.
    " ORDER BY owner LIMIT %(n)s FOR NO KEY UPDATE SKIP LOCKED"
)
_REWRAP = (
    f"WITH {_IF_CURRENT}"  # noqa: S608 - our own words
    " UPDATE data_keys SET wrapped = t.w, wrapping_key_id = %(epoch)s FROM epoch,"
    " unnest(CAST(%(owners)s AS text[]), CAST(%(wrapped)s AS bytea[])) AS t(o, w) WHERE owner = t.o"
)


class KeyGone(Exception):  # noqa: N818 - says what is true
    """The key was destroyed, or never existed."""


class KeyLost(KeyGone):
    """The key's row is there and its epoch key is not: a named operator gave the epoch up."""


class KeyStore:
    """Data keys by owner (`request/<id>`, `batch/<id>`). Every call is one statement in a transaction of its own.

    Any call may raise EpochKeyUnusable: then nothing is known about the keys, least of all that they were destroyed.
    """

    def __init__(self, engine: Engine, secrets: EpochSecrets, key_encryption_keys: KeyEncryptionKeys) -> None:
        self._engine = engine
        self._autocommit = Autocommit(engine)
        self._secrets = secrets
        self._keys = key_encryption_keys
        self.epochs = KeyEpochs(engine, secrets)
        self._current: UUID | None = None
        self._cache: dict[UUID, bytes] = {}

    def create(self, owners: Sequence[str]) -> dict[str, bytes]:
        """New keys, durable before this returns. An owner that has a key already keeps it and gets that one."""
        fresh = {owner: os.urandom(32) for owner in owners}

        def all_there(epoch: UUID) -> dict[str, bytes] | None:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(_CREATE, self._values(fresh, epoch))
                rows = self._select(connection, owners)
            return self._read(rows) if len(rows) == len(fresh) else None

        return self._under_current(all_there)

    def create_new(self, owners: Sequence[str], *, server_started_at: datetime | None = None) -> dict[str, bytes]:
        """New keys for owners that are new themselves: one statement, nothing read. Durable before this returns, unless
        the server that started at `server_started_at` keeps this store as well.

        There it needn't be waited for: a server writes one log, in which a commit makes everything before it durable.
        The caller's own commit must be on that server, and fail on any other (new_requests does).
        """
        if not owners:
            return {}
        fresh = {owner: os.urandom(32) for owner in owners}

        def written(epoch: UUID) -> dict[str, bytes] | None:
            made = self._autocommit.execute(_CREATE_NEW, self._values(fresh, epoch) | {"server": server_started_at})
            return fresh if made[0].made else None

        return self._under_current(written)

    def get(self, owners: Sequence[str]) -> dict[str, bytes]:
        """The keys that still exist; an owner whose key was destroyed, or lost with its epoch, is missing."""
        if not owners:
            return {}
        rows = self._autocommit.execute(_GET, {"owners": BinaryArray(owners)})
        return self._read([(row.owner, row.wrapped, row.wrapping_key_id) for row in rows])

    def one(self, owner: str) -> bytes:
        """The owner's key. Raises KeyGone; KeyLost if its row exists under a lost epoch."""
        rows = self._autocommit.execute(_GET, {"owners": BinaryArray([owner])})
        if not rows:
            raise KeyGone("the key was destroyed")
        found = self._read([(row.owner, row.wrapped, row.wrapping_key_id) for row in rows])
        if owner not in found:
            raise KeyLost("the key's epoch is lost")
        return found[owner]

    def destroy(self, owners: Sequence[str]) -> None:
        """Delete keys for good. Deleting twice is no error. Their bytes become worthless with the end of the epoch."""
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

    def rewrap(self, *, after: str = "", page: int = 500) -> str | None:
        """Wrap one page of keys of other epochs under the current one. Returns the last owner looked at, or None.

        A key that can't be unwrapped is reported and left as it is, so its epoch never counts as emptied.
        """
        epoch = self.epochs.current()
        with self._engine.begin() as connection:
            values = {"after": after, "epoch": str(epoch), "n": page}
            rows = connection.exec_driver_sql(_TO_REWRAP, values).all()
            fresh: dict[str, bytes] = {}
            for owner, wrapped, wrapping_key_id in rows:
                try:
                    fresh |= self._read([(owner, bytes(wrapped), wrapping_key_id)])
                except SealBroken:
                    log.error("data_key_unreadable", owner=owner, epoch=wrapping_key_id)  # noqa: TRY400 - no text
            if fresh:
                connection.exec_driver_sql(_REWRAP, self._values(fresh, epoch))
        return rows[-1].owner if rows else None

    def check(self) -> None:
        """Read every epoch key that a data key may need, from where it is kept. Raises EpochKeyUnusable.

        Looks past the cache, because a process that still has a key in memory must notice that the file is gone.
        """
        for epoch in self.epochs.all():
            if epoch.has_key and epoch.emptied_at is None:
                self.check_epoch(epoch.id)

    def has_what_it_needs(self, epoch: EncryptionEpoch) -> bool:
        """False if data keys may be wrapped under this epoch and its key can't be read."""
        if epoch.has_key and epoch.emptied_at is None:
            try:
                self.check_epoch(epoch.id)
            except EpochKeyUnusable:
                return False
        return True

    def check_epoch(self, epoch: UUID) -> None:
        """Read one epoch key from where it is kept. Raises EpochKeyMissing, EpochKeyUnusable."""
        self._secrets.read(epoch)

    def _under_current(self, attempt: Callable[[UUID], dict[str, bytes] | None]) -> dict[str, bytes]:
        """`attempt` under the current epoch; again if that ended in the meantime and nothing was written."""
        for _ in range(_ROTATIONS_AT_MOST):
            if self._current is None:
                self._current = self.epochs.current()
            done = attempt(self._current)
            if done is not None:
                return done
            self._current = None
        raise EpochKeyUnusable("no epoch stays current")

    def _values(self, keys: dict[str, bytes], epoch: UUID) -> dict[str, object]:
        secret = self._secret(epoch)
        wrapped = [seal(secret, key, _context(owner)) for owner, key in keys.items()]
        return {"owners": BinaryArray(keys), "wrapped": BinaryArray(wrapped), "epoch": str(epoch)}

    def _secret(self, epoch: UUID) -> bytes:
        secret = self._cache.get(epoch)
        if secret is None:
            secret = self._secrets.read(epoch)
            while len(self._cache) >= _CACHED_EPOCHS:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[epoch] = secret
        return secret

    def _select(self, connection: Connection, owners: Sequence[str]) -> list[tuple[str, bytes, str]]:
        rows = connection.execute(
            text("SELECT owner, wrapped, wrapping_key_id FROM data_keys WHERE owner = ANY(:owners)").bindparams(
                bindparam("owners", type_=ARRAY(Text))
            ),
            {"owners": list(owners)},
        )
        return [(row[0], bytes(row[1]), row[2]) for row in rows]

    def _read(self, rows: Sequence[tuple[str, bytes, str]]) -> dict[str, bytes]:
        """The keys of these rows; those of lost epochs are left out."""
        found = {}
        for owner, wrapped, wrapping_key_id in rows:
            if wrapping_key_id == WITHOUT_EPOCH:
                found[owner] = self._keys.unwrap_with_any(wrapped, _context(owner))
                continue
            epoch = UUID(wrapping_key_id)
            try:
                found[owner] = unseal(self._secret(epoch), wrapped, _context(owner))
            except EpochKeyMissing:
                if self.epochs.state_of(epoch) is not EpochState.LOST:
                    raise
                log.error("data_key_lost", owner=owner, epoch=wrapping_key_id)  # noqa: TRY400 - no text
        return found


def _context(owner: str) -> str:
    return f"data-key/{owner}"


def request_owner(request_id: object) -> str:
    """The key store's name for a request."""
    return f"request/{request_id}"


def batch_owner(batch_id: object) -> str:
    """The key store's name for a batch."""
    return f"batch/{batch_id}"
