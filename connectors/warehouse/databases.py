"""From a location to the database that speaks to it. Knows both kinds and nothing else."""

from __future__ import annotations

from connectors.warehouse.duckdb_database import DuckdbDatabase
from connectors.warehouse.location import DuckdbFile, Location
from connectors.warehouse.postgresql_database import PostgresqlDatabase
from connectors.warehouse.session import Database


def database_at(location: Location, *, lock_wait_seconds: float, statement_timeout_seconds: float) -> Database:
    """The database at a location; nothing is opened yet."""
    if isinstance(location, DuckdbFile):
        return DuckdbDatabase(location.path, lock_wait_seconds=lock_wait_seconds)
    return PostgresqlDatabase(
        location.parameters,
        lock_wait_seconds=lock_wait_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
    )
