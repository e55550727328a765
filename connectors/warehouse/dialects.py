"""The SQL dialects of warehouses: the expressions that differ, and statements in the driver's text.

Decides how a row is identified, how values are compared, and how temporary tables and bound lists are written. Every
statement is a SQLAlchemy expression; SQLAlchemy quotes the names and binds the values. Doesn't decide what is asked and
runs nothing: SQLAlchemy has no connection here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    CTE,
    ClauseElement,
    ColumnClause,
    ColumnElement,
    FromClause,
    Select,
    String,
    TableClause,
    Text,
    and_,
    bindparam,
    cast,
    collate,
    column,
    exists,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGDialect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTableAs
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.ddl import DDLElement

from connectors.warehouse.names import name_parts
from connectors.warehouse.spelling import WHITE_SPACE

Expression = ColumnElement[Any]
Query = Select[*tuple[Any, ...]]
ONE: Expression = literal_column("1")

_ZERO: Expression = literal_column("0")
_SIGNS: list[Expression] = [func.chr(literal_column(str(ord(sign))), type_=String) for sign in WHITE_SPACE]
_WHITE_SPACE = reduce(lambda signs, sign: signs.concat(sign), _SIGNS)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement in the driver's text. `literals`: values of ours that are bound in it, by name.

    `order`: the names of all bound values where the driver takes them by position; None where it takes them by name.
    """

    text: str
    literals: Mapping[str, Any] = field(repr=False)
    order: Sequence[str] | None

    def values(self, given: Mapping[str, Any]) -> dict[str, Any] | list[Any]:
        """Return the values to bind, as the driver takes them."""
        values = {**self.literals, **given}
        return values if self.order is None else [values[name] for name in self.order]


def quoted_column(name: str) -> ColumnClause[Any]:
    """Return a column of a configured table; its name is always quoted."""
    return column(quoted_name(name, quote=True))


def named_table(name: str, columns: Iterable[str] = ()) -> TableClause:
    """Return a configured table, `table` or `schema.table`; its name and its columns are always quoted."""
    *schema, own = (quoted_name(part, quote=True) for part in name_parts(name))
    return table(own, *(quoted_column(each) for each in columns), schema=schema[0] if schema else None)


def with_columns(rows: TableClause, *names: str) -> TableClause:
    """Return the same table with columns of the database's own, such as `ctid`, whose names aren't quoted."""
    added = (name for name in names if name not in rows.c)
    columns: Iterable[ColumnClause[Any]] = (column(name) for name in (*(each.name for each in rows.c), *added))
    return table(rows.name, *columns, schema=rows.schema)


def no(rows: Query, *outer: FromClause) -> Expression:
    """Return `NOT EXISTS (rows)`, where `rows` may name columns of the `outer` statement's tables."""
    return ~exists(rows.correlate(*outer))


class WarehouseDialect(ABC):
    """How one kind of database writes our statements. Equal dialects compile a statement to the same text."""

    kind: ClassVar[str]
    compiler: ClassVar[Dialect]
    row_columns: ClassVar[tuple[str, ...]]
    """Columns of every table that are a row's physical identity within one transaction: one or two."""

    def __init__(self, collation: str | None = None) -> None:
        self.collation = collation
        """The collation under which text is lower-cased; None: the column's own."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WarehouseDialect) and (self.kind, self.collation) == (other.kind, other.collation)

    def __hash__(self) -> int:
        return hash((self.kind, self.collation))

    @abstractmethod
    def given(self, *columns: str) -> CTE:
        """Return the lists that are bound under these names, side by side, as the rows of a table `given`."""

    @abstractmethod
    def create_temporary(self, target: TableClause, query: Query) -> DDLElement:
        """Return the statement that makes a temporary table of ours from a query."""

    def compile(self, statement: ClauseElement) -> Compiled:
        """Return the statement in the driver's text. Takes about 0.5 ms (2026-12-01): keep the result."""
        compiled = statement.compile(dialect=self.compiler)
        if isinstance(statement, DDLElement):
            return Compiled(str(compiled), {}, None if self.compiler.paramstyle == "pyformat" else ())
        literals = {name: value for name, value in compiled.params.items() if value is not None}
        return Compiled(str(compiled), literals, getattr(compiled, "positiontup", None))

    def physical(self, rows: TableClause) -> TableClause:
        """Return the table with the columns that are a row's physical identity."""
        return with_columns(rows, *self.row_columns)

    def row_id(self, rows: FromClause) -> tuple[Expression, Expression]:
        """Return two expressions that are the physical identity of a row of `rows` within one transaction."""
        own: list[Expression] = [rows.c[name] for name in self.row_columns]
        return (own[0], own[1]) if len(own) == 2 else (_ZERO, own[0])

    def id_columns(self, rows: FromClause) -> tuple[Expression, Expression]:
        """Return the physical identity of a row of `rows` as the columns a and b."""
        first, second = self.row_id(rows)
        return first.label("a"), second.label("b")

    def is_row(self, rows: FromClause, found: FromClause) -> Expression:
        """Return the condition that `found`, which has the columns a and b, is the row of `rows`."""
        first, second = self.row_id(rows)
        return and_(first == found.c.a, second == found.c.b)

    def trim(self, value: Expression) -> Expression:
        """Return the value as text without white space around it."""
        return func.trim(cast(value, String), _WHITE_SPACE, type_=String)

    def lower(self, text: Expression) -> Expression:
        """Return the text in lower case, beyond ASCII as well."""
        return func.lower(text if self.collation is None else collate(text, self.collation), type_=String)

    def fold(self, value: Expression) -> Expression:
        """Return the form of a value in which two are compared without regard to case."""
        return self.lower(self.trim(value))


class _DuckdbCompilation(PGDialect):
    """SQLAlchemy has no dialect of DuckDB; DuckDB reads PostgreSQL's quoting, casts, CTEs, USING and FROM.

    Only compiles: duckdb_engine, the dialect of a third party, would bring a pool and an inspector that we don't use.
    """

    supports_statement_cache = False


class _ReplacedTable(CreateTableAs):
    """A temporary table that takes the place of an earlier one.

    DuckDB keeps a temporary table until its connection ends.
    """

    or_replace = True
    inherit_cache = False


class DuckdbDialect(WarehouseDialect):
    """DuckDB 2."""

    kind = "duckdb"
    compiler = _DuckdbCompilation(paramstyle="qmark")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
    row_columns = ("rowid",)

    def given(self, *columns: str) -> CTE:
        lists = (func.unnest(cast(bindparam(name), ARRAY(String))).label(name) for name in columns)
        return select(*lists).cte("given").prefix_with("MATERIALIZED")

    def create_temporary(self, target: TableClause, query: Query) -> DDLElement:
        return _ReplacedTable(query, target.name, temporary=True)


class _PostgresqlDdl(PGDDLCompiler):
    def create_table_select_suffixes(self, element: Any, type_: str, **kw: Any) -> str:
        return "ON COMMIT DROP"


class _PostgresqlCompilation(PGDialect_psycopg):
    ddl_compiler = _PostgresqlDdl
    supports_statement_cache = False


class PostgresqlDialect(WarehouseDialect):
    """PostgreSQL, through psycopg."""

    kind = "postgresql"
    compiler = _PostgresqlCompilation()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
    row_columns = ("tableoid", "ctid")

    def given(self, *columns: str) -> CTE:
        lists = func.unnest(*(cast(bindparam(name), ARRAY(Text)) for name in columns))
        rows = lists.table_valued(*columns, name="lists").render_derived()
        return select(*(rows.c[name] for name in columns)).cte("given").prefix_with("MATERIALIZED")

    def create_temporary(self, target: TableClause, query: Query) -> DDLElement:
        return CreateTableAs(query, target.name, temporary=True)
