"""VACUUM of the tables that held keys or sealed values: dead rows leave the tables before their epoch key is destroyed.

VACUUM frees the dead rows' space for reuse and shrinks nothing; the old bytes may stay in a page until other rows are
written there, and in WAL files until these are recycled. They are ciphertext whose key is being destroyed.
Source: postgresql.org/docs/current/routine-vacuuming.html (read 2026-11-30).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

log = structlog.get_logger(__name__)

KEY_TABLES = ("data_keys",)
SEALED_TABLES = ("identifiers", "steps", "batches")


def vacuum(engine: Engine, tables: Sequence[str]) -> None:
    """Vacuum our own tables, one after the other, without the lock that truncating the file's end would take.

    A table that can't be vacuumed is reported and left: the destroyed epoch key is what counts.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            try:
                connection.execute(text(f"VACUUM (TRUNCATE FALSE) {table}"))
            except DBAPIError as error:
                log.warning("table_not_vacuumed", table=table, error=type(error).__name__)
