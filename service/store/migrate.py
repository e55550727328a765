"""Bring a database to the newest schema: the main store by Alembic, the key store by its two tables.

Several processes may start at once: an advisory lock lets one migrate while the others wait.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import func, select

from service.store.encryption.key_tables import KEY_METADATA
from service.store.engine import open_engine
from service.store.locking import set_local

_LOCK = select(func.pg_advisory_xact_lock(0x45585055))  # "EXPU"
_HERE = Path(__file__).parent / "migrations"


def migrate(database_url: str, revision: str = "head") -> None:
    """Migrate the main store to this version, by default the newest."""
    engine = open_engine(database_url, pool_size=1)
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            connection.execute(_LOCK)
            set_local(connection, "lock_timeout", "30s")
            set_local(connection, "statement_timeout", "10min")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def migrate_keys(key_database_url: str) -> None:
    """Make the key store's tables that don't exist.

    Data keys from before there were epochs are re-wrapped later.
    """
    engine = open_engine(key_database_url, pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(_LOCK)
            KEY_METADATA.create_all(connection)
    finally:
        engine.dispose()
