"""The schema that migrations make is the schema that the models say, and its fence stands."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.store.engine import open_engine
from service.store.migrate import migrate
from service.store.tables import metadata


def test_migrating_from_empty_equals_the_models(blank_database_url: str) -> None:
    migrate(blank_database_url)
    engine = open_engine(blank_database_url)
    with engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_migrating_twice_changes_nothing(blank_database_url: str) -> None:
    migrate(blank_database_url)
    migrate(blank_database_url)


@pytest.mark.parametrize("statement", ["DELETE FROM audit_leaves", "UPDATE audit_leaves SET entry = entry"])
def test_the_logs_rows_are_fenced(database_url: str, statement: str) -> None:
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_leaves (index, entry, leaf_hash)"
                " VALUES (0, decode('7b7d', 'hex'), decode('00', 'hex'))"
            )
        )
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
