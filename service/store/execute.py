"""Execute a statement in the caller's transaction: `execute` is the one function for it.

Decides which statements go to the driver directly and which through SQLAlchemy. A direct execution costs psycopg's own
time: SQLAlchemy adds 5 us for the look-up of a statement, 4 us for each parameter and 90 us for the result (measured
2026-11-22). Errors are SQLAlchemy's in both cases, and show no parameters. Doesn't decide when a transaction ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeAlias

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import ARRAY, Boolean, ClauseElement, Connection, Executable, text
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

_DIALECT = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no annotation for it


DriverRow: TypeAlias = Any
"""A row as the driver returns it, with its columns as attributes: only the statement knows them. A store builds a
dataclass from each, so that no caller of the store sees one."""


class _Rows(Protocol):
    """The part of a cursor, psycopg's or SQLAlchemy's, that a `Result` reads."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> Sequence[DriverRow]: ...


class Result:
    """The rows of a statement, read once."""

    __slots__ = ("_rows",)

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement found or changed."""
        return self._rows.rowcount

    def all(self) -> list[DriverRow]:
        """Return all rows."""
        return list(self._rows.fetchall())

    def scalars(self) -> list[DriverRow]:
        """Return the first column of all rows."""
        return [row[0] for row in self._rows.fetchall()]

    def one_or_none(self) -> DriverRow:
        """Return the only row, or None. Raises MultipleResultsFound."""
        rows = self._rows.fetchall()
        if len(rows) > 1:
            raise MultipleResultsFound("more than one row where one at most was expected")
        return rows[0] if rows else None

    def one(self) -> DriverRow:
        """Return the only row. Raises NoResultFound, MultipleResultsFound."""
        row = self.one_or_none()
        if row is None:
            raise NoResultFound("no row where one was expected")
        return row

    def scalar_one(self) -> DriverRow:
        """Return the first column of the only row. Raises like `one`."""
        return self.one()[0]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as the driver takes it.

    `literals`: the values in the expression itself, by parameter. `is_direct`: the driver needs nothing else.
    """

    words: str
    literals: Mapping[str, object]
    is_direct: bool


def execute(
    connection: Connection, statement: str | ClauseElement, values: Mapping[str, object] | None = None
) -> Result:
    """Execute one statement in the caller's transaction, and begin one where the caller has none yet.

    `statement` is a constant of a module: an expression with a `bindparam` for each of `values`, or the text of a
    statement of ours with `:name`s, as `load_sql` returns it. It is compiled once and handed to the driver, except for
    an expression whose values SQLAlchemy must convert or expand (JSON, `IN` with a list): that one SQLAlchemy executes.
    Raises SQLAlchemy's errors.
    """
    compiled = compile_once(statement)
    if not compiled.is_direct:
        assert isinstance(statement, Executable)
        return Result(connection.execute(statement, dict(values or {})))
    if not connection.in_transaction():
        # As SQLAlchemy does it: the caller's commit must find a transaction.
        connection.begin()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        return _execute(driver, compiled, values)
    except psycopg.Error as error:
        _raise(connection, driver, compiled.words, error)


def execute_on_driver(driver: psycopg.Connection, statement: str | ClauseElement) -> Result:
    """Execute one statement without values on a connection that SQLAlchemy has just opened.

    `statement` as for `execute`. Raises the driver's errors.
    """
    return _execute(driver, compile_once(statement), None)


def _execute(driver: psycopg.Connection, compiled: Compiled, values: Mapping[str, object] | None) -> Result:
    cursor = driver.cursor(row_factory=namedtuple_row)
    cursor.execute(compiled.words.encode(), {**compiled.literals, **(values or {})} if compiled.literals else values)
    return Result(cursor)


def _raise(connection: Connection, driver: psycopg.Connection, words: str, error: psycopg.Error) -> NoReturn:
    lost = driver.closed
    if lost:
        connection.invalidate(error)
    raise DBAPIError.instance(
        words,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=connection.dialect,
    ) from None


@lru_cache(maxsize=1024)
def compile_once(statement: str | ClauseElement) -> Compiled:
    """Return the driver's form of an expression, or of our own text with `:name`s.

    Compiling costs about 0.4 ms, so it is done once for each statement.
    """
    if isinstance(statement, str):
        return Compiled(str(text(statement).compile(dialect=_DIALECT)), MappingProxyType({}), is_direct=True)
    compiled = statement.compile(dialect=_DIALECT)
    assert isinstance(compiled, SQLCompiler), "a statement of rows: not DDL"
    parameters = {name: parameter for parameter, name in compiled.bind_names.items()}
    literals = {name: parameter.value for name, parameter in parameters.items() if not parameter.required}
    is_direct = not any(parameter.expanding or _is_converted(parameter.type) for parameter in parameters.values())
    return Compiled(str(compiled), MappingProxyType(literals), is_direct)


def _is_converted(kind: TypeEngine[object]) -> bool:
    """Return True if SQLAlchemy changes the values of this type before the driver gets them."""
    if isinstance(kind, ARRAY):
        return _is_converted(kind.item_type)
    if isinstance(kind, Boolean):
        return False  # SQLAlchemy only refuses other values, and PostgreSQL does so as well.
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT) is not None
