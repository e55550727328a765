"""The register of encryption epochs in the key store, and the fence between writers and rotation.

The fence: every statement that writes a data key also reads, in the same statement, that its epoch is current
(`key_store`). `begin` takes SHARE on `data_keys` before it retires an epoch, so that it waits for every statement that
has already read the old state. A statement that starts afterwards takes its snapshot after the commit of `begin`,
because PostgreSQL locks a statement's tables before it takes the snapshot. So no data key can be committed under a
retired epoch, and `mark_emptied` can rely on its own query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Text, cast, exists, func, insert, not_, select, update

from service.domain.encryption.epochs import EncryptionEpoch, EpochState, is_due_for_rotation
from service.store.encryption.epoch_secrets import EpochSecrets
from service.store.encryption.key_tables import data_keys, key_epochs
from service.store.execute import execute
from service.store.locking import set_local
from service.store.sql_files import load_sql

_ONE_ROTATION = 0x45504F43  # "EPOC": one process at a time looks after the epochs.
_BEGINNING = 0x45504F42  # "EPOB": one process at a time makes or removes an epoch key.
_LOCK_PATIENCE = "5s"
_LOCK_DATA_KEYS = load_sql(__package__, "lock_data_keys")
_LOST = select(cast(key_epochs.c.id, Text)).where(key_epochs.c.state == EpochState.LOST)


class KeyEpochs:
    """Every epoch that this key store has had. Each method is one transaction."""

    def __init__(self, engine: Engine, secrets: EpochSecrets) -> None:
        self._engine = engine
        self._secrets = secrets

    def all(self) -> list[EncryptionEpoch]:
        """All epochs, oldest first."""
        with self._engine.begin() as connection:
            return _all(connection)

    def current(self) -> UUID:
        """The current epoch; begins one if there is none. Raises EpochKeyUnusable."""
        with self._engine.begin() as connection:
            found = _current(connection)
        return (found or self.begin(every=None)).id

    def state_of(self, epoch_id: UUID) -> EpochState | None:
        """The state, or None for an epoch that this database doesn't know."""
        with self._engine.begin() as connection:
            state = connection.execute(select(key_epochs.c.state).where(key_epochs.c.id == epoch_id)).scalar()
        return None if state is None else EpochState(state)

    def now(self) -> datetime:
        """The key database's clock, by which epochs are judged."""
        with self._engine.begin() as connection:
            return _now(connection)

    def begin(self, *, every: timedelta | None) -> EncryptionEpoch:
        """Begin the next epoch if there is none, or the current one is older than `every`.

        With `every` None only if there is none. The new key is durable, and was read back, before any data key can be
        wrapped under it. Raises EpochKeyUnusable; sqlalchemy's OperationalError if writers kept the table locked for
        too long.
        """
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
            current = _current(connection)
            if current is not None and (
                every is None or not is_due_for_rotation(current, every=every, now=_now(connection))
            ):
                return current
            self._secrets.tidy()
            epoch_id = uuid4()
            self._secrets.create(epoch_id)
            self._secrets.read(epoch_id)
            _durable(connection)
            set_local(connection, "lock_timeout", _LOCK_PATIENCE)
            execute(connection, _LOCK_DATA_KEYS)
            connection.execute(
                update(key_epochs)
                .where(key_epochs.c.state == EpochState.CURRENT)
                .values(state=EpochState.RETIRED, retired_at=func.clock_timestamp())
            )
            connection.execute(insert(key_epochs).values(id=epoch_id, state=EpochState.CURRENT))
            begun = _current(connection)
            assert begun is not None
            return begun

    def unknown(self) -> list[UUID]:
        """Epoch keys that are kept outside and that this database doesn't know. Raises EpochKeyUnusable."""
        recorded = {epoch.id for epoch in self.all()}
        return [epoch_id for epoch_id in self._secrets.known() if epoch_id not in recorded]

    def adopt_unknown(self) -> list[UUID]:
        """Record epoch keys that this database doesn't know as retired epochs.

        They are destroyed in time then. They come from a rotation that died half-way, or were made after the backup
        that was restored.
        """
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
            recorded = {epoch.id for epoch in _all(connection)}
            unknown = [epoch_id for epoch_id in self._secrets.known() if epoch_id not in recorded]
            for epoch_id in unknown:
                connection.execute(
                    insert(key_epochs).values(id=epoch_id, state=EpochState.RETIRED, retired_at=func.clock_timestamp())
                )
        return unknown

    def mark_emptied(self, epoch_id: UUID) -> bool:
        """Record that no data key names this retired epoch; False, and nothing recorded, if one does."""
        with self._engine.begin() as connection:
            _durable(connection)
            named = exists().where(data_keys.c.wrapping_key_id == str(epoch_id))
            done = connection.execute(
                update(key_epochs)
                .where(key_epochs.c.id == epoch_id, key_epochs.c.state == EpochState.RETIRED, not_(named))
                .values(emptied_at=func.clock_timestamp())
            )
            return done.rowcount == 1

    def destroy(self, epoch_id: UUID) -> bool:
        """Destroy a retired, emptied epoch's key and record it; False if a data key names the epoch after all."""
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
            _durable(connection)
            named = exists().where(data_keys.c.wrapping_key_id == str(epoch_id))
            done = connection.execute(
                update(key_epochs)
                .where(
                    key_epochs.c.id == epoch_id,
                    key_epochs.c.state == EpochState.RETIRED,
                    key_epochs.c.emptied_at.is_not(None),
                    not_(named),
                )
                .values(state=EpochState.DESTROYED, ended_at=func.clock_timestamp())
            )
            if done.rowcount != 1:
                return False
            # Before the commit: if the process dies in between, the epoch is still retired and this is repeated.
            self._secrets.destroy(epoch_id)
            return True

    def rewrap_epoch_keys(self, finish: Callable[[], None]) -> int:
        """Wrap every epoch key under the newest key-encryption key, then call `finish`; return how many.

        No epoch begins meanwhile, so that none can be wrapped under an older key when `finish` removes that. Raises
        EpochKeyUnusable, and doesn't call `finish` then.
        """
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
            self._secrets.tidy()
            done = sum(self._secrets.rewrap(epoch_id) for epoch_id in self._secrets.known())
            finish()
            return done

    def give_up(self, epoch_id: UUID) -> int | None:
        """Record an epoch whose key is missing as lost.

        Returns how many data keys are lost with it; None if its key exists.
        """
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
            if epoch_id in self._secrets.known():
                return None
            _durable(connection)
            lost = {"state": EpochState.LOST, "ended_at": func.clock_timestamp()}
            if connection.execute(update(key_epochs).where(key_epochs.c.id == epoch_id).values(**lost)).rowcount == 0:
                connection.execute(insert(key_epochs).values(id=epoch_id, **lost))
            return _keys_by_epoch(connection).get(str(epoch_id), 0)

    def keys_by_epoch(self) -> Mapping[str, int]:
        """How many data keys name each epoch (`local-1`: none yet). Reads the whole table."""
        with self._engine.begin() as connection:
            return _keys_by_epoch(connection)

    def lost_keys(self) -> int:
        """How many data keys can't be unwrapped because their epoch is lost. Costs nothing while none is."""
        with self._engine.begin() as connection:
            if not connection.execute(select(_LOST.exists())).scalar_one():
                return 0
            counted = select(func.count()).select_from(data_keys).where(data_keys.c.wrapping_key_id.in_(_LOST))
            return int(connection.execute(counted).scalar_one())

    def lost_owners(self, limit: int) -> tuple[str, ...]:
        """Return the owners of the data keys that can't be unwrapped, at most `limit`, in their order."""
        owners = select(data_keys.c.owner).where(data_keys.c.wrapping_key_id.in_(_LOST))
        with self._engine.begin() as connection:
            return tuple(connection.execute(owners.order_by(data_keys.c.owner).limit(limit)).scalars())

    @contextmanager
    def one_at_a_time(self) -> Iterator[bool]:
        """Yield True to the only process that may rotate now, False to any other.

        The lock is held by a connection of its own.
        """
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            taken: bool = connection.execute(select(func.pg_try_advisory_lock(_ONE_ROTATION))).scalar_one()
            try:
                yield taken
            finally:
                if taken:
                    connection.execute(select(func.pg_advisory_unlock(_ONE_ROTATION)))


def _all(connection: Connection) -> list[EncryptionEpoch]:
    rows = connection.execute(select(key_epochs).order_by(key_epochs.c.created_at, key_epochs.c.id))
    return [
        EncryptionEpoch(r.id, EpochState(r.state), r.created_at, r.retired_at, r.emptied_at, r.ended_at) for r in rows
    ]


def _current(connection: Connection) -> EncryptionEpoch | None:
    return next((epoch for epoch in _all(connection) if epoch.state is EpochState.CURRENT), None)


def _keys_by_epoch(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(data_keys.c.wrapping_key_id, func.count()).group_by(data_keys.c.wrapping_key_id))
    return {row[0]: row[1] for row in rows}


def _now(connection: Connection) -> datetime:
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now


def _durable(connection: Connection) -> None:
    """Have this transaction's commit wait for the disk, whatever the server's default is."""
    set_local(connection, "synchronous_commit", "on")
