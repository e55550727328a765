"""One statement that is a transaction by itself, said to the driver without the layers between.

For what every call of the API waits for: with one connection per statement, SQLAlchemy's own work is three times that
of the driver, and a BEGIN and a COMMIT are two more words to the database. Errors are SQLAlchemy's, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError


class Statements:
    """Runs statements with `%(name)s` parameters on the engine's own pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows, with their columns as attributes; none for a statement without any. Raises SQLAlchemy's errors."""
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        assert isinstance(connection, psycopg.Connection)
        try:
            connection.autocommit = True
            cursor = connection.cursor(row_factory=namedtuple_row)
            cursor.execute(statement.encode(), values)
            rows = cursor.fetchall() if cursor.description else []
            connection.autocommit = False
        except psycopg.Error as error:
            if connection.closed:
                pooled.invalidate()
            else:
                connection.autocommit = False
            raise DBAPIError.instance(
                statement, None, error, psycopg.Error, hide_parameters=True, dialect=self._engine.dialect
            ) from None
        finally:
            pooled.close()
        return rows
