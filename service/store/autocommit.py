"""Execute one statement that is a transaction by itself, on a connection in autocommit mode.

Decides how a pooled connection is put into that mode and back. Every call of the API waits for such statements: with a
connection for each of them, SQLAlchemy's own work takes three times as long as the driver's, and BEGIN and COMMIT are
two more round trips. Errors are SQLAlchemy's, and show no parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import ClauseElement, Engine
from sqlalchemy.exc import DBAPIError

from service.store.execute import DriverRow, compile_once


class Autocommit:
    """Executes single statements on the engine's own pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def execute(self, statement: str | ClauseElement, values: Mapping[str, object]) -> list[DriverRow]:
        """Return the rows, with their columns as attributes; an empty list for a statement without any.

        `statement` is an expression that is a module's constant, or text with the driver's `%(name)s`.
        Raises SQLAlchemy's errors.
        """
        words = statement
        if not isinstance(words, str):
            compiled = compile_once(words)
            assert compiled.is_direct, "a value that SQLAlchemy must convert or expand"
            words, values = compiled.words, {**compiled.literals, **values}
        try:
            pooled = self._engine.raw_connection()
        except psycopg.Error as error:
            raise self._as_sqlalchemys(words, error) from None
        connection = pooled.driver_connection
        assert isinstance(connection, psycopg.Connection)
        try:
            connection.autocommit = True
            cursor = connection.cursor(row_factory=namedtuple_row)
            cursor.execute(words.encode(), values)
            rows = cursor.fetchall() if cursor.description else []
            connection.autocommit = False
        except psycopg.Error as error:
            if connection.closed:
                pooled.invalidate()
            else:
                connection.autocommit = False
            raise self._as_sqlalchemys(words, error) from None
        finally:
            pooled.close()
        return rows

    def _as_sqlalchemys(self, words: str, error: psycopg.Error) -> BaseException:
        return DBAPIError.instance(
            words, None, error, psycopg.Error, hide_parameters=True, dialect=self._engine.dialect
        )
