"""DuckDB's catalogue, as far as an erasure needs it: tables, columns, keys.

Names are in lower case, because DuckDB compares them without regard to case.

Decides nothing: compiled statements over the functions that list the catalogue
(https://duckdb.org/docs/current/sql/meta/duckdb_table_functions, read 2026-11-22).
"""

from __future__ import annotations

from sqlalchemy import TableValuedAlias, false, func, literal_column, select, true, union_all

from connectors.warehouse.dialects import DuckdbDialect, Query

_DIALECT = DuckdbDialect()


def _listed(function: str, *columns: str) -> TableValuedAlias:
    rows: TableValuedAlias = getattr(func, function)().table_valued(
        "database_name", "schema_name", *columns, name=function
    )
    return rows


def _here(query: Query, listed: TableValuedAlias) -> Query:
    return query.where(listed.c.database_name == func.current_database())


_tables = _listed("duckdb_tables", "table_name")
_views = _listed("duckdb_views", "view_name")
_columns = _listed("duckdb_columns", "table_name", "column_name", "is_nullable")
_constraints = _listed(
    "duckdb_constraints",
    "table_name",
    "constraint_type",
    "constraint_column_names",
    "referenced_table",
    "referenced_column_names",
)

TABLES = _DIALECT.compile(
    union_all(
        _here(select(func.lower(_tables.c.schema_name), func.lower(_tables.c.table_name), true()), _tables),
        _here(select(func.lower(_views.c.schema_name), func.lower(_views.c.view_name), false()), _views),
    )
)
"""Schema, name, whether it is a table."""

COLUMNS = _DIALECT.compile(
    _here(
        select(
            func.lower(_columns.c.schema_name),
            func.lower(_columns.c.table_name),
            _columns.c.column_name,
            _columns.c.is_nullable,
        ),
        _columns,
    )
)
"""Schema, table, name, whether it may be NULL."""

PRIMARY_KEYS = _DIALECT.compile(
    _here(
        select(
            func.lower(_constraints.c.schema_name),
            func.lower(_constraints.c.table_name),
            _constraints.c.constraint_column_names,
        ).where(_constraints.c.constraint_type == literal_column("'PRIMARY KEY'")),
        _constraints,
    )
)
"""Schema, table, the names of its columns."""

FOREIGN_KEYS = _DIALECT.compile(
    _here(
        select(
            func.lower(_constraints.c.schema_name),
            func.lower(_constraints.c.table_name),
            _constraints.c.table_name,
            _constraints.c.constraint_column_names,
            func.lower(_constraints.c.referenced_table),
            _constraints.c.referenced_column_names,
        ).where(_constraints.c.constraint_type == literal_column("'FOREIGN KEY'")),
        _constraints,
    )
)
"""Schema, child, the child's name as written, its columns, parent, its columns."""
