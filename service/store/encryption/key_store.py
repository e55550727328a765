"""The key store: wrapped data keys in a database of their own, so that its backups can be short-lived.

A data key is wrapped under the key of the current encryption epoch, which is kept outside the database (`key_epochs`,
`epoch_secrets`). Deleting a row removes the key from the database's answers; destroying the epoch key makes the bytes
worthless that disk, WAL and backups still hold. Doesn't know which values are sealed with a key. Data keys aren't
cached, because a deleted key must be unusable at once in every process. Epoch keys are cached, so that wrapping needs
no call to the outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import (
    Engine,
    Integer,
    Interval,
    Text,
    all_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    select,
)

from service.domain.encryption.epochs import EncryptionEpoch, EpochState
from service.store.arrays import BinaryArray, array_parameter
from service.store.autocommit import Autocommit
from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable, EpochSecrets
from service.store.encryption.key_encryption_keys import KeyEncryptionKeys
from service.store.encryption.key_epochs import KeyEpochs
from service.store.encryption.key_tables import data_keys, key_epochs
from service.store.encryption.sealing import SealBroken, seal, unseal
from service.store.execute import compile_once, execute
from service.store.sql_files import load_sql

log = structlog.get_logger(__name__)

WITHOUT_EPOCH = "local-1"
"""`wrapping_key_id` of rows from before there were epochs: wrapped under the key-encryption key itself."""

_CACHED_EPOCHS = 2
_ROTATIONS_AT_MOST = 5
_KEY = select(data_keys.c.owner, data_keys.c.wrapped, data_keys.c.wrapping_key_id)
_OF_OWNERS = data_keys.c.owner == any_(array_parameter("owners", Text()))
_GET = _KEY.where(_OF_OWNERS)
_CREATE_NEW = compile_once(load_sql("service.store.encryption", "create_new_keys")).words
_CREATE = load_sql("service.store.encryption", "create_keys")
_REWRAP = load_sql("service.store.encryption", "rewrap_keys")
_LOST = select(cast(key_epochs.c.id, Text)).where(key_epochs.c.state == literal_column("'lost'"))
_TO_REWRAP = (
    _KEY.where(
        data_keys.c.owner > bindparam("after", type_=Text()),
        data_keys.c.wrapping_key_id != bindparam("epoch", type_=Text()),
        data_keys.c.wrapping_key_id != all_(func.array(_LOST.scalar_subquery())),
    )
    .order_by(data_keys.c.owner)
    .limit(bindparam("n", type_=Integer()))
    # A key that is being deleted at this moment is left alone, so this never waits for another transaction.
    .with_for_update(key_share=True, skip_locked=True)
)
_DESTROY = delete(data_keys).where(_OF_OWNERS)
_OLDER = (
    select(data_keys.c.owner)
    .where(
        data_keys.c.owner > bindparam("after", type_=Text()),
        data_keys.c.created_at < func.clock_timestamp() - bindparam("age", type_=Interval()),
    )
    .order_by(data_keys.c.owner)
    .limit(bindparam("n", type_=Integer()))
)


class KeyGone(Exception):  # noqa: N818 - says what is true
    """The key was destroyed, or never existed."""


class KeyLost(KeyGone):
    """The key's row is there and its epoch key is not: a named operator gave the epoch up."""


class StoredKey(NamedTuple):
    """A row of the data keys: wrapped under the epoch of that id, or under `WITHOUT_EPOCH`."""

    owner: str
    wrapped: bytes
    wrapping_key_id: str


class KeyStore:
    """Data keys by owner (`request/<id>`, `batch/<id>`). Each call is one statement and transaction.

    Any call may raise EpochKeyUnusable: then nothing is known about the keys, above all not that they were destroyed.
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
                execute(connection, _CREATE, self._values(fresh, epoch))
                rows = execute(connection, _GET, {"owners": BinaryArray(owners)}).all()
            return self._read(_stored(rows)) if len(rows) == len(fresh) else None

        return self._under_current(all_there)

    def create_new(self, owners: Sequence[str], *, server_started_at: datetime | None = None) -> dict[str, bytes]:
        """Create keys for owners that are new themselves, in one statement that reads nothing.

        The keys are durable before this returns, unless the server that started at `server_started_at` keeps this store
        as well: a server writes one log, in which the caller's commit makes everything before it durable. The caller's
        own commit must be on that server, and fail on any other (new_requests does).
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
        return self._read(_stored(rows))

    def one(self, owner: str) -> bytes:
        """The owner's key. Raises KeyGone; KeyLost if its row exists under a lost epoch."""
        rows = self._autocommit.execute(_GET, {"owners": BinaryArray([owner])})
        if not rows:
            raise KeyGone("the key was destroyed")
        found = self._read(_stored(rows))
        if owner not in found:
            raise KeyLost("the key's epoch is lost")
        return found[owner]

    def destroy(self, owners: Sequence[str]) -> None:
        """Delete keys for good; deleting twice is no error.

        Their bytes become worthless with the end of the epoch.
        """
        if not owners:
            return
        with self._engine.begin() as connection:
            execute(connection, _DESTROY, {"owners": BinaryArray(owners)})

    def owners_older_than(self, seconds: float, limit: int, *, after: str = "") -> list[str]:
        """Return owners of keys made at least `seconds` ago, in their order behind `after`.

        The search for orphaned keys begins with them.
        """
        with self._engine.begin() as connection:
            values = {"age": timedelta(seconds=seconds), "n": limit, "after": after}
            return execute(connection, _OLDER, values).scalars()

    def rewrap(self, *, after: str = "", page: int = 500) -> str | None:
        """Wrap one page of keys of other epochs under the current one; return the last owner, or None.

        A key that can't be unwrapped is reported and left as it is, so that its epoch never counts as emptied.
        """
        epoch = self.epochs.current()
        with self._engine.begin() as connection:
            values = {"after": after, "epoch": str(epoch), "n": page}
            rows = _stored(execute(connection, _TO_REWRAP, values).all())
            fresh: dict[str, bytes] = {}
            for row in rows:
                try:
                    fresh |= self._read([row])
                except SealBroken:
                    log.error("data_key_unreadable", owner=row.owner, epoch=row.wrapping_key_id)  # noqa: TRY400 - no text
            if fresh:
                execute(connection, _REWRAP, self._values(fresh, epoch))
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

    def _read(self, rows: Sequence[StoredKey]) -> dict[str, bytes]:
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


def _stored(rows: Iterable[StoredKey]) -> list[StoredKey]:
    """Return rows of `_KEY`, which have these columns, as values."""
    return [StoredKey(row.owner, bytes(row.wrapped), row.wrapping_key_id) for row in rows]


def _context(owner: str) -> str:
    return f"data-key/{owner}"


def request_owner(request_id: object) -> str:
    """The key store's name for a request."""
    return f"request/{request_id}"


def batch_owner(batch_id: object) -> str:
    """The key store's name for a batch."""
    return f"batch/{batch_id}"
