"""The machine's databases: real ones, one connection each, emptied between runs, on the machine's clock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, create_engine, event, make_url, text

from service.store.audit_log.fence import FENCED_TABLES
from service.store.autocommit import Autocommit
from service.store.encryption.epoch_files import EpochFiles
from service.store.encryption.key_encryption_keys import fixed_keys
from service.store.encryption.key_store import KeyStore
from service.store.encryption.keyed_hash import Pepper
from service.store.stores import Stores
from tests.properties.engine.clock import CONNECTION_OPTIONS, DEFINITIONS, OFFSET
from tests.properties.engine.worker import WorkerDied

_TABLES = text(
    "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
    " WHERE nspname = 'public' AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY relname"
)
_DEFAULTS = text(
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = 'public' AND column_default LIKE '%clock_timestamp%'"
)
# Emptying by DELETE is quicker than TRUNCATE for a few rows; now and then the files are made anew.
_RUNS_PER_TRUNCATE = 40


class MachineStores:
    """Stores of the product on databases that are this machine's alone."""

    def __init__(self, database_url: str, key_database_url: str) -> None:
        with _engine(database_url, "") as setup, setup.begin() as connection:
            for statement in DEFINITIONS:
                connection.execute(text(statement))
            for table, column in connection.execute(_DEFAULTS).all():
                connection.execute(
                    text(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT machine.clock_timestamp()")
                )
            for table in FENCED_TABLES:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER only_grows"))
            self.tables = list(connection.execute(_TABLES).scalars())
        self._failpoints = _Failpoints()
        self._engine = _open(database_url, CONNECTION_OPTIONS)
        self._key_engine = _open(key_database_url, "-csynchronous_commit=off")
        for engine in (self._engine, self._key_engine):
            event.listen(engine, "begin", self._failpoints.passed)
            event.listen(engine, "commit", self._failpoints.passed)
        wrapping = fixed_keys(b"k" * 32)
        self._epochs = tempfile.TemporaryDirectory()
        keys = KeyStore(self._key_engine, EpochFiles(Path(self._epochs.name), wrapping), wrapping)
        self.product = Stores(
            engine=self._engine,
            keys=keys,
            pepper=Pepper(b"p" * 32),
            autocommit=Autocommit(self._engine),
            _key_engine=self._key_engine,
        )
        # What is compared is read beside the service, over a connection of its own: it sees what is committed.
        self._reader = psycopg.connect(_plain(database_url), autocommit=True, row_factory=namedtuple_row)
        self._runs = 0

    def read(self, statement: LiteralString, values: Mapping[str, object]) -> Any:
        """The one row of a reading."""
        return self._reader.execute(statement, values, prepare=True).fetchone()

    def empty(self) -> None:
        """Nothing ever happened, and the clock stands at its start."""
        if self._runs % _RUNS_PER_TRUNCATE == 0:
            statement = f"TRUNCATE {', '.join(self.tables)} CASCADE"
        else:
            # References between rows are checked at the end of each statement; one statement removes them all.
            deletions = ", ".join(f"d{n} AS (DELETE FROM {t})" for n, t in enumerate(self.tables))
            statement = f"WITH {deletions} SELECT 1"
        with self._engine.begin() as connection:
            connection.execute(text(statement))
            connection.execute(text("SELECT setval('machine.tick', 1)"))
        with self._key_engine.begin() as connection:
            connection.execute(text("DELETE FROM data_keys"))
        self._runs += 1
        self.set_offset(timedelta(0))

    def set_offset(self, offset: timedelta) -> None:
        """Move the database's clock; committed, since a rollback would take it back."""
        seconds = f"{offset.total_seconds()}s"
        with self._engine.begin() as connection:
            connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": OFFSET, "value": seconds})

    @contextmanager
    def dying_after(self, boundaries: int | None) -> Iterator[None]:
        """The process dies when it passes that many beginnings and ends of transactions; WorkerDied stops here."""
        self._failpoints.left = boundaries
        try:
            yield
        except WorkerDied:
            pass
        finally:
            self._failpoints.left = None

    def key_owners(self) -> set[str]:
        """Whose data keys exist."""
        with self._key_engine.begin() as connection:
            return set(connection.execute(text("SELECT owner FROM data_keys")).scalars())

    def close(self) -> None:
        """Close all connections."""
        self._reader.close()
        self.product.close()
        self._epochs.cleanup()


class _Failpoints:
    """Counts transactions' beginnings and ends; raises before the one at which the process dies."""

    def __init__(self) -> None:
        self.left: int | None = None

    def passed(self, _connection: object) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise WorkerDied


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _open(url: str, options: str) -> Engine:
    return create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        connect_args={"options": options} if options else {},
    )


@contextmanager
def _engine(url: str, options: str) -> Iterator[Engine]:
    engine = _open(url, options)
    yield engine
    engine.dispose()
