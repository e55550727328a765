"""Statements in the driver's own words, translated once and said to the driver itself: for those of every change.

SQLAlchemy looks a text up, and binds its parameters, anew on each execution: 5 us, and 4 more for each parameter; its
results cost another 90 us (measured 2026-11-22). What runs here is part of the caller's transaction, and its errors are
SQLAlchemy's and show no parameters, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import ClauseElement, Connection, text
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound

_DIALECT = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so


class Answered:
    """What a statement answered, to be read once; rows have their columns as attributes."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows it found, or changed."""
        return self._cursor.rowcount

    def all(self) -> list[Any]:
        """All rows."""
        return self._cursor.fetchall()

    def scalars(self) -> list[Any]:
        """The first column of all rows."""
        return [row[0] for row in self._cursor.fetchall()]

    def one_or_none(self) -> Any:
        """The only row, or None. Raises MultipleResultsFound."""
        rows = self._cursor.fetchall()
        if len(rows) > 1:
            raise MultipleResultsFound("more than one row where one at most was asked for")
        return rows[0] if rows else None

    def one(self) -> Any:
        """The only row. Raises NoResultFound, MultipleResultsFound."""
        row = self.one_or_none()
        if row is None:
            raise NoResultFound("no row where one was asked for")
        return row

    def scalar_one(self) -> Any:
        """The only row's first column. Raises like `one`."""
        return self.one()[0]


def run(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> Answered:
    """One statement of our own text, with `:name`s, in the caller's transaction.

    Begins one where the caller has none yet. Raises SQLAlchemy's errors.
    """
    return in_transaction(connection, in_driver_words(statement), values)


def execute(connection: Connection, statement: ClauseElement, values: Mapping[str, Any] | None = None) -> Answered:
    """One SQLAlchemy expression in the caller's transaction; compiled once and kept.

    `statement` is a module constant with a `bindparam` for each of `values`. Begins a transaction where the caller has
    none yet. Raises SQLAlchemy's errors.
    """
    words, literals = compile_once(statement)
    return in_transaction(connection, words, {**literals, **(values or {})} if literals else values)


def in_transaction(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> Answered:
    """The same for a statement that is in the driver's words already."""
    if not connection.in_transaction():
        # As SQLAlchemy does it: the caller's commit must find a transaction.
        connection.begin()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    cursor = driver.cursor(row_factory=namedtuple_row)
    try:
        cursor.execute(statement.encode(), values)
    except psycopg.Error as error:
        _raise(connection, driver, statement, error)
    return Answered(cursor)


def _raise(connection: Connection, driver: psycopg.Connection[Any], statement: str, error: psycopg.Error) -> NoReturn:
    lost = driver.closed
    if lost:
        connection.invalidate(error)
    raise DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=connection.dialect,
    ) from None


@lru_cache(maxsize=512)
def in_driver_words(statement: str) -> str:
    """The same for `in_transaction`, with its `:name`s as the driver writes them. Our own text only."""
    return str(text(statement).compile(dialect=_DIALECT))


@lru_cache(maxsize=512)
def compile_once(statement: ClauseElement) -> tuple[str, Mapping[str, Any]]:
    """The driver's text of an expression, and the literals that stand in it. Compiling costs about 0.4 ms."""
    compiled = statement.compile(dialect=_DIALECT)
    literals = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), MappingProxyType(literals)
