"""A PostgreSQL warehouse, one connection per access, bounded by statement, lock and idle time-outs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import errors

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.warehouse import postgresql_catalogue as catalogue
from connectors.warehouse.dialects import Compiled, PostgresqlDialect
from connectors.warehouse.names import code_part
from connectors.warehouse.session import Given, Reference, Row, Session, TableFacts

_CONNECT_TIMEOUT_SECONDS = 5
# Nothing of ours waits between two statements for long; a lost process must not hold locks for hours.
_IDLE_TIMEOUT_SECONDS = 120

# Built in since PostgreSQL 17; the second is there in builds with ICU, the third in most others on Linux.
_COLLATIONS = ("pg_c_utf8", "und-x-icu", "C.utf8", "en_US.utf8")

# libpq gives no code for a refused connection, only the server's text, in the server's language. Another
# text counts as unreachable: the call is tried again and the request becomes overdue, never a success.
_LOGIN_REFUSALS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "no password supplied",
)


class PostgresqlDatabase:
    """`Database` of a PostgreSQL server."""

    def __init__(
        self, parameters: Mapping[str, str], *, lock_wait_seconds: float, statement_timeout_seconds: float
    ) -> None:
        options = {
            "statement_timeout": int(statement_timeout_seconds * 1000),
            "lock_timeout": int(lock_wait_seconds * 1000),
            "idle_in_transaction_session_timeout": _IDLE_TIMEOUT_SECONDS * 1000,
        }
        self._parameters = {
            **parameters,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": str(_CONNECT_TIMEOUT_SECONDS),
            "client_encoding": "UTF8",
            "application_name": "expunge",
        }

    @contextmanager
    def open(self, *, write: bool) -> Iterator[Session]:
        connection = self._connect()
        try:
            # The staged rows are addressed by their physical place: only a steady snapshot keeps it theirs.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield PostgresqlSession(connection)
        finally:
            connection.close()

    def _connect(self) -> psycopg.Connection[Row]:
        refusal: ConnectorError
        try:
            return psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]  # libpq's parameters are texts
        except psycopg.Error as error:
            refusal = _connecting_error(str(error))
        raise refusal from None


class PostgresqlSession(Session):
    """One connection. Outside `transaction` each statement is its own."""

    levels_apart = False

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection
        self.dialect = PostgresqlDialect(self._choose_collation())

    def _choose_collation(self) -> str | None:
        """Return the collation that lower-cases beyond ASCII: under the C collation `Ü` stays as it is."""
        known = {name for (name,) in self.rows(catalogue.COLLATIONS)}
        return next((name for name in _COLLATIONS if name in known), None)

    def rows(self, statement: Compiled, given: Given | None = None) -> list[Row]:
        with self._named_errors():
            return self._execute(statement, given).fetchall()

    def change(self, statement: Compiled) -> int:
        with self._named_errors():
            return self._execute(statement).rowcount

    def run(self, statement: Compiled, given: Given | None = None) -> None:
        with self._named_errors():
            self._execute(statement, given)

    def _execute(self, statement: Compiled, given: Given | None = None) -> psycopg.Cursor[Row]:
        # Always with values: psycopg reads `%%` in quoted names as `%` only then.
        return self._connection.execute(statement.text.encode(), statement.values(given or {}))

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[None]:
        with self._named_errors(ending=keep), self._connection.transaction(force_rollback=not keep):
            yield

    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        return [self._facts(name) for name in names]

    def _facts(self, name: tuple[str, ...]) -> TableFacts | None:
        values = catalogue.parts(name)
        found = self.rows(catalogue.TABLE[len(name)], values)
        if not found:
            return None
        token, kind = found[0]
        columns = self.rows(catalogue.COLUMNS[len(name)], values)
        key = self.rows(catalogue.PRIMARY_KEY[len(name)], values)
        # Ordinary and partitioned tables; views, foreign and materialised ones have no rows of their own to delete.
        return TableFacts(
            token, kind in ("r", "p"), {str(c): bool(n) for c, n in columns}, tuple(key[0][0]) if key else ()
        )

    def references(self) -> list[Reference]:
        return [
            Reference(child, name, tuple(own), parent, tuple(other))
            for child, name, own, parent, other in self.rows(catalogue.FOREIGN_KEYS)
        ]

    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        code = code_part(name[-1])
        values = catalogue.parts(name)
        for right in ("select", "delete") if delete else ("select",):
            if not self.rows(catalogue.HAS_RIGHT[len(name)], {**values, "right": right})[0][0]:
                raise CredentialsRefused(f"missing_right:{code}:{right}")
        for each in update:
            if not self.rows(catalogue.MAY_UPDATE[len(name)], {**values, "column": each})[0][0]:
                raise CredentialsRefused(f"missing_right:{code}:update")
        if self.rows(catalogue.HIDES_ROWS[len(name)], values)[0][0]:
            # Rows that a policy hides would look like rows that are gone.
            raise CredentialsRefused(f"row_security:{code}")

    @contextmanager
    def _named_errors(self, *, ending: bool = False) -> Iterator[None]:
        """Turn PostgreSQL's errors into ours; its details quote values, so nothing of them goes on."""
        refusal: ConnectorError
        try:
            yield
        except psycopg.Error as error:
            refusal = _statement_error(error, ending=ending)
        else:
            return
        raise refusal from None


def _connecting_error(text: str) -> ConnectorError:
    if any(refusal in text for refusal in _LOGIN_REFUSALS) or ("role " in text and "does not exist" in text):
        return CredentialsRefused("login_refused")
    if "permission denied for database" in text:
        return CredentialsRefused("missing_right:connect")
    if "database " in text and "does not exist" in text:
        return AnswerNotUnderstood("database_missing")
    return TemporarilyUnavailable("warehouse_unreachable")


_REFUSALS: tuple[tuple[type[psycopg.Error], type[ConnectorError], str], ...] = (
    (errors.ForeignKeyViolation, TemporarilyUnavailable, "row_referenced"),
    (errors.RestrictViolation, TemporarilyUnavailable, "row_referenced"),
    (errors.IntegrityError, RequestRefused, "constraint_refused"),
    (errors.SerializationFailure, TemporarilyUnavailable, "changed_meanwhile"),
    (errors.DeadlockDetected, TemporarilyUnavailable, "changed_meanwhile"),
    (errors.LockNotAvailable, TemporarilyUnavailable, "warehouse_locked"),
    (errors.QueryCanceled, TemporarilyUnavailable, "statement_timeout"),
    (errors.ReadOnlySqlTransaction, CredentialsRefused, "database_read_only"),
    (errors.InsufficientPrivilege, CredentialsRefused, "missing_right"),
    (errors.UndefinedTable, AnswerNotUnderstood, "table_or_column_missing"),
    (errors.UndefinedColumn, AnswerNotUnderstood, "table_or_column_missing"),
)


def _statement_error(error: psycopg.Error, *, ending: bool) -> ConnectorError:
    for kind, ours, code in _REFUSALS:
        if isinstance(error, kind):
            return ours(code)
    if isinstance(error, psycopg.OperationalError):
        # Lost connections, shutdowns, full disks. Only a lost COMMIT may have taken effect.
        return TemporarilyUnavailable("connection_lost", effect_unknown=ending)
    state = (error.sqlstate or "unknown").lower()
    return AnswerNotUnderstood(f"statement_failed:{state}")
