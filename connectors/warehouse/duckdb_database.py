"""A DuckDB file, opened for one short access at a time.

While a process has the file open for writing nobody else can open it, not even to read, and the reverse (DuckDB 2.0,
tried 2026-11-22; https://duckdb.org/docs/current/connect/concurrency). So nothing is held open between two accesses,
and an opening that meets the other's lock is tried again for a bounded time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
from sqlalchemy import text

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.warehouse import duckdb_catalogue as catalogue
from connectors.warehouse.dialects import Compiled, DuckdbDialect
from connectors.warehouse.names import code_part
from connectors.warehouse.session import Given, Reference, Row, Session, TableFacts

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25
_RETRY_AFTER_SECONDS = 5.0


_DIALECT = DuckdbDialect()
_BEGIN, _COMMIT, _ROLLBACK = (_DIALECT.compile(text(each)) for each in ("BEGIN TRANSACTION", "COMMIT", "ROLLBACK"))


class DuckdbDatabase:
    """`Database` of an existing DuckDB file: a wrong path must not create a new, empty warehouse."""

    def __init__(self, path: Path, *, lock_wait_seconds: float) -> None:
        self._path = path
        self._lock_wait_seconds = lock_wait_seconds

    @contextmanager
    def open(self, *, write: bool) -> Iterator[Session]:
        connection = self._connect(read_only=not write)
        try:
            yield DuckdbSession(connection, self._path)
        finally:
            connection.close()

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        give_up_at = time.monotonic() + self._lock_wait_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            if not self._path.is_file():
                raise AnswerNotUnderstood("warehouse_file_missing")
            try:
                return duckdb.connect(str(self._path), read_only=read_only)
            except duckdb.Error as error:
                refusal = _opening_error(error)
            if not isinstance(refusal, TemporarilyUnavailable) or time.monotonic() + pause_seconds > give_up_at:
                raise refusal from None
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


class DuckdbSession(Session):
    """One open connection to the file."""

    dialect = _DIALECT
    # "Over-eager constraint checking": within one transaction a deleted row still counts for its foreign key.
    # https://duckdb.org/docs/current/sql/indexes (tried 2026-11-22 with 2.0.0).
    levels_apart = True

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def rows(self, statement: Compiled, given: Given | None = None) -> list[Row]:
        with _named_errors():
            return self._connection.execute(statement.text, statement.values(given or {})).fetchall()

    def change(self, statement: Compiled) -> int:
        with _named_errors():
            answer = self._connection.execute(statement.text, statement.values({})).fetchone()
        if answer is None or not isinstance(answer[0], int):
            raise AnswerNotUnderstood("no_row_count", effect_unknown=True)
        return answer[0]

    def run(self, statement: Compiled, given: Given | None = None) -> None:
        with _named_errors():
            self._connection.execute(statement.text, statement.values(given or {}))

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[None]:
        self.run(_BEGIN)
        try:
            yield
        except BaseException:
            # A failed statement may have ended the transaction already; closing without COMMIT discards it anyway.
            with _ended_already():
                self._connection.rollback()
            raise
        self.run(_COMMIT if keep else _ROLLBACK)

    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        kinds = {(schema, name): is_table for schema, name, is_table in self.rows(catalogue.TABLES)}
        columns: dict[tuple[str, str], dict[str, bool]] = {}
        for schema, table, column, is_nullable in self.rows(catalogue.COLUMNS):
            columns.setdefault((schema, table), {})[column] = is_nullable
        keys = {(schema, table): tuple(key) for schema, table, key in self.rows(catalogue.PRIMARY_KEYS)}
        places = [_place(name) for name in names]
        return [
            TableFacts(place, kinds[place], columns.get(place, {}), keys.get(place, ())) if place in kinds else None
            for place in places
        ]

    def references(self) -> list[Reference]:
        # A foreign key of DuckDB never leaves its schema, and the catalogue doesn't say which one it points to.
        return [
            Reference((schema, child), name, tuple(columns), (schema, parent), tuple(referenced))
            for schema, child, name, columns, parent, referenced in self.rows(catalogue.FOREIGN_KEYS)
        ]

    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        # DuckDB knows no users: who can open the file sees every row, and who can write it may change them.
        if (delete or update) and not (os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)):
            raise CredentialsRefused(f"missing_right:{code_part(name[-1])}")


def _place(name: tuple[str, ...]) -> tuple[str, str]:
    return (name[0].lower() if len(name) == 2 else "main", name[-1].lower())


def _opening_error(error: duckdb.Error) -> ConnectorError:
    # DuckDB has one class for everything that can go wrong with a file; only its text tells them apart.
    text = str(error)
    if "Could not set lock" in text or "different configuration" in text:
        return TemporarilyUnavailable("warehouse_locked", retry_after_seconds=_RETRY_AFTER_SECONDS)
    if "Permission denied" in text:
        return CredentialsRefused("file_not_readable")
    if "not a valid DuckDB database" in text:
        return AnswerNotUnderstood("not_a_duckdb_file")
    return AnswerNotUnderstood("file_not_opened")


def _statement_error(error: duckdb.Error) -> ConnectorError:
    if isinstance(error, duckdb.ConstraintException):
        # The file is ours alone while we write, so neither will be otherwise the next time.
        return RequestRefused("row_referenced" if "foreign key" in str(error).lower() else "constraint_refused")
    if isinstance(error, duckdb.TransactionException):
        return TemporarilyUnavailable("changed_meanwhile", effect_unknown=True)
    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.InterruptException):
        return TemporarilyUnavailable("warehouse_out_of_means", effect_unknown=True)
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
        return AnswerNotUnderstood("table_or_column_missing")
    return AnswerNotUnderstood("statement_failed", effect_unknown=True)


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn DuckDB's errors into ours; its texts quote values, so nothing of them goes on."""
    refusal: ConnectorError
    try:
        yield
    except duckdb.Error as error:
        refusal = _statement_error(error)
    else:
        return
    raise refusal from None


@contextmanager
def _ended_already() -> Iterator[None]:
    try:
        yield
    except duckdb.TransactionException:
        return
