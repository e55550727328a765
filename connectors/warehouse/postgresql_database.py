"""A PostgreSQL warehouse, one connection per access, bounded by statement, lock and idle time-outs."""

# ruff: noqa: S608 - every name in a statement is quoted, every value bound

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
from connectors.warehouse.names import code_part, quoted
from connectors.warehouse.session import Reference, Row, Session, TableFacts

_CONNECT_TIMEOUT_SECONDS = 5
# Nothing of ours waits between two statements for long; a lost process must not hold locks for hours.
_IDLE_TIMEOUT_SECONDS = 120

# Built in since PostgreSQL 17; the second is there in builds with ICU, the third in most others on Linux.
_COLLATIONS = ("pg_c_utf8", "und-x-icu", "C.utf8", "en_US.utf8")

# libpq gives no code for a refused connection, only the server's text, in the server's language. What isn't
# recognised counts as unreachable: it is tried again and becomes overdue, never a success.
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

    row_id = ("{0}.tableoid", "{0}.ctid")
    levels_apart = False
    temporary = "CREATE TEMPORARY TABLE"
    temporary_options = "ON COMMIT DROP"

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection
        self.collation = self._choose_collation()

    def _choose_collation(self) -> str:
        """How to lower-case beyond ASCII: under the C collation, of a database or a column, `Ü` stays as it is."""
        known = {name for (name,) in self.rows("SELECT collname FROM pg_collation WHERE collencoding IN (-1, 6)")}
        fit = next((name for name in _COLLATIONS if name in known), None)
        return "" if fit is None else f" COLLATE {quoted(fit)}"

    def rows(self, sql: str) -> list[Row]:
        with self._named_errors():
            return self._connection.execute(sql.encode()).fetchall()

    def change(self, sql: str) -> int:
        with self._named_errors():
            return self._connection.execute(sql.encode()).rowcount

    def run(self, sql: str) -> None:
        with self._named_errors():
            self._connection.execute(sql.encode())

    def with_given(self, given: Mapping[str, Sequence[str]], sql: str) -> list[Row]:
        lists = ", ".join("%s::text[]" for _ in given)
        head = f"WITH given({', '.join(given)}) AS MATERIALIZED (SELECT * FROM unnest({lists})) "
        with self._named_errors():
            # psycopg reads `%` in a statement with bound values, also inside quoted names.
            text = head + sql.replace("%", "%%")
            cursor = self._connection.execute(text.encode(), [list(values) for values in given.values()])
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[None]:
        with self._named_errors(ending=keep), self._connection.transaction(force_rollback=not keep):
            yield

    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        return [self._facts(name) for name in names]

    def _facts(self, name: tuple[str, ...]) -> TableFacts | None:
        found = self._ask("SELECT oid::bigint, relkind FROM pg_class WHERE oid = to_regclass(%s)", _regclass(name))
        if not found:
            return None
        token, kind = found[0]
        columns = self._ask(
            "SELECT attname, NOT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
            "AND NOT attisdropped",
            _regclass(name),
        )
        key = self._ask(
            "SELECT a.attname FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(attnum, n) "
            "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum "
            "WHERE c.contype = 'p' AND c.conrelid = to_regclass(%s) ORDER BY k.n",
            _regclass(name),
        )
        # Ordinary and partitioned tables; views, foreign and materialised ones have no rows of their own to delete.
        return TableFacts(token, kind in ("r", "p"), {str(c): bool(n) for c, n in columns}, tuple(c for (c,) in key))

    def references(self) -> list[Reference]:
        def columns(of: str, numbers: str) -> str:
            return (
                f"ARRAY(SELECT a.attname::text FROM unnest({numbers}) WITH ORDINALITY AS k(attnum, n) "
                f"JOIN pg_attribute a ON a.attrelid = {of} AND a.attnum = k.attnum ORDER BY k.n)"
            )

        # conparentid: a partition's copy of its parent's foreign key says nothing new.
        found = self.rows(
            "SELECT conrelid::bigint, conrelid::regclass::text, " + columns("conrelid", "conkey") + ", "
            "confrelid::bigint, " + columns("confrelid", "confkey") + " FROM pg_constraint "
            "WHERE contype = 'f' AND conparentid = 0"
        )
        return [Reference(child, name, tuple(own), parent, tuple(other)) for child, name, own, parent, other in found]

    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        code = code_part(name[-1])
        table = _regclass(name)
        needed = ["SELECT", "DELETE"] if delete else ["SELECT"]
        for right in needed:
            if not self._ask("SELECT has_table_privilege(to_regclass(%s), %s)", table, right)[0][0]:
                raise CredentialsRefused(f"missing_right:{code}:{right.lower()}")
        for column in update:
            if not self._ask("SELECT has_column_privilege(to_regclass(%s), %s, 'UPDATE')", table, column)[0][0]:
                raise CredentialsRefused(f"missing_right:{code}:update")
        if self._ask("SELECT row_security_active(to_regclass(%s))", table)[0][0]:
            # Rows that a policy hides would look like rows that are gone.
            raise CredentialsRefused(f"row_security:{code}")

    def _ask(self, sql: str, *values: str) -> list[Row]:
        with self._named_errors():
            return self._connection.execute(sql.encode(), values).fetchall()

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


def _regclass(name: tuple[str, ...]) -> str:
    return ".".join(quoted(part) for part in name)


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
