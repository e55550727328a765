"""PostgreSQL's catalogue, as far as an erasure needs it: tables, columns, keys, rights, collations.

Decides nothing: compiled statements. Those about one table come for names of one and of two parts, which are bound as
`part_0` and `part_1`; the server quotes them (`quote_ident`) and looks the name up like any statement (`to_regclass`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import (
    BigInteger,
    FromClause,
    String,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    not_,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import REGCLASS

from connectors.warehouse.dialects import Compiled, Expression, PostgresqlDialect, Query

_DIALECT = PostgresqlDialect()
_classes = table("pg_class", *map(column, ("oid", "relkind")))
_attributes = table("pg_attribute", *map(column, ("attrelid", "attname", "attnum", "attnotnull", "attisdropped")))
_constraints = table(
    "pg_constraint", *map(column, ("contype", "conparentid", "conrelid", "conkey", "confrelid", "confkey"))
)
_collations = table("pg_collation", *map(column, ("collname", "collencoding")))


def parts(name: tuple[str, ...]) -> dict[str, str]:
    """Return the values to bind for a table's name."""
    return {f"part_{n}": part for n, part in enumerate(name)}


def _about_a_table(build: Callable[[Expression], Query]) -> Mapping[int, Compiled]:
    """Compile a statement for names of one part and of two."""
    first, second = (func.quote_ident(bindparam(each, type_=String), type_=String) for each in ("part_0", "part_1"))
    names = {1: first, 2: first.concat(literal_column("'.'")).concat(second)}
    return {n: _DIALECT.compile(build(func.to_regclass(name))) for n, name in names.items()}


def _key(of: Expression, numbers: Expression, outer: FromClause) -> Expression:
    """Return the names of a constraint's columns as an array, in the constraint's order."""
    key = func.unnest(numbers).table_valued("attnum", with_ordinality="n", name="k").render_derived()
    named = key.join(_attributes, and_(_attributes.c.attrelid == of, _attributes.c.attnum == key.c.attnum))
    names = select(cast(_attributes.c.attname, Text)).select_from(named).order_by(key.c.n)
    return func.array(names.correlate(outer).scalar_subquery())


TABLE = _about_a_table(
    lambda name: select(cast(_classes.c.oid, BigInteger), _classes.c.relkind).where(_classes.c.oid == name)
)
"""oid, relkind."""

COLUMNS = _about_a_table(
    lambda name: select(_attributes.c.attname, not_(_attributes.c.attnotnull)).where(
        _attributes.c.attrelid == name, _attributes.c.attnum > literal_column("0"), not_(_attributes.c.attisdropped)
    )
)
"""Name, whether it may be NULL."""

PRIMARY_KEY = _about_a_table(
    lambda name: select(_key(_constraints.c.conrelid, _constraints.c.conkey, _constraints)).where(
        _constraints.c.contype == literal_column("'p'"), _constraints.c.conrelid == name
    )
)
"""The names of its columns."""

FOREIGN_KEYS = _DIALECT.compile(
    select(
        cast(_constraints.c.conrelid, BigInteger),
        cast(cast(_constraints.c.conrelid, REGCLASS), Text),
        _key(_constraints.c.conrelid, _constraints.c.conkey, _constraints),
        cast(_constraints.c.confrelid, BigInteger),
        _key(_constraints.c.confrelid, _constraints.c.confkey, _constraints),
        # conparentid: a partition's copy of its parent's foreign key says nothing new.
    ).where(_constraints.c.contype == literal_column("'f'"), _constraints.c.conparentid == literal_column("0"))
)
"""Child's oid, its name, its columns, parent's oid, its columns."""

HAS_RIGHT = _about_a_table(lambda name: select(func.has_table_privilege(name, bindparam("right", type_=String))))
MAY_UPDATE = _about_a_table(
    lambda name: select(func.has_column_privilege(name, bindparam("column", type_=String), literal_column("'UPDATE'")))
)
HIDES_ROWS = _about_a_table(lambda name: select(func.row_security_active(name)))

COLLATIONS = _DIALECT.compile(
    select(_collations.c.collname).where(
        # Of any encoding, or of UTF-8.
        or_(*(_collations.c.collencoding == literal_column(encoding) for encoding in ("-1", "6")))
    )
)
