"""VACUUM the tables that held keys or sealed values, so that no dead row outlives its epoch key.

VACUUM frees the dead rows' space for reuse and shrinks nothing; the old bytes may stay in a page until other rows are
written there, and in WAL files until these are recycled. They are ciphertext whose key is being destroyed.
Source: postgresql.org/docs/current/routine-vacuuming.html (read 2026-11-30).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from service.store.sql_files import load_sql

log = structlog.get_logger(__name__)

KEY_TABLES = ("data_keys",)
SEALED_TABLES = ("identifiers", "identity_explanations", "steps", "batches")


def vacuum(engine: Engine, tables: Sequence[str]) -> None:
    """Vacuum these tables of `KEY_TABLES` or `SEALED_TABLES`, one after the other.

    A table that can't be vacuumed is reported and skipped, because destroying the epoch key doesn't depend on it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            try:
                connection.execute(text(load_sql(__package__, f"vacuum_{table}")))
            except DBAPIError as error:
                log.warning("table_not_vacuumed", table=table, error=type(error).__name__)
