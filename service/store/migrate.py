"""Brings a database to the newest schema: the main store by Alembic, the key store by adding its two tables.

Several processes may start at once: an advisory lock lets one migrate while the others wait.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from service.store.encryption.key_tables import KEY_METADATA
from service.store.engine import open_engine

MIGRATION_LOCK = 0x45585055  # "EXPU"
_HERE = Path(__file__).parent / "migrations"


def migrate(database_url: str) -> None:
    """Migrate the main store to the newest version."""
    engine = open_engine(database_url, pool_size=1)
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            connection.execute(text("SET LOCAL lock_timeout = '30s'"))
            connection.execute(text("SET LOCAL statement_timeout = '10min'"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def migrate_keys(key_database_url: str) -> None:
    """Make the key store's tables that aren't there. Data keys from before there were epochs are re-wrapped later."""
    engine = open_engine(key_database_url, pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            KEY_METADATA.create_all(connection)
    finally:
        engine.dispose()
