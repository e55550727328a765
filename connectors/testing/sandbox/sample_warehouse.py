"""The sample company's warehouse: seven tables in a DuckDB file, and the policy that fits them.

Decides which tables there are and how a sample person's rows look; `sample_world` decides the people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    column,
    false,
    func,
    insert,
    quoted_name,
    select,
    table,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable

if TYPE_CHECKING:
    from connectors.testing.sandbox.sample_world import SamplePerson

_tables = MetaData()
_customers = Table(
    "customers",
    _tables,
    Column("customer_id", String, primary_key=True),
    Column("name", String),
    Column("email", String),
    Column("phone", String),
    Column("since", DateTime),
)
_addresses = Table(
    "addresses",
    _tables,
    Column("address_id", Integer, primary_key=True, autoincrement=False),
    Column("customer_id", ForeignKey(_customers.c.customer_id)),
    Column("street", String),
    Column("city", String),
)
_orders = Table(
    "orders",
    _tables,
    Column("order_id", Integer, primary_key=True, autoincrement=False),
    Column("customer_id", ForeignKey(_customers.c.customer_id)),
    Column("contact_email", String),
    Column("total_cents", Integer),
    Column("placed_at", DateTime),
)
_order_items = Table(
    "order_items",
    _tables,
    Column("item_id", Integer, primary_key=True, autoincrement=False),
    Column("order_id", ForeignKey(_orders.c.order_id)),
    Column("article", String),
    Column("quantity", Integer),
)
_events = Table(
    "events",
    _tables,
    Column("event_id", Integer, primary_key=True, autoincrement=False),
    Column("anonymous_id", String),
    Column("email", String),
    Column("page", String),
    Column("seen_at", DateTime),
)
_newsletter = Table("newsletter", _tables, Column("email", String), Column("subscribed_at", DateTime))
_identity_edges = Table(
    "identity_edges",
    _tables,
    Column("kind_a", String),
    Column("value_a", String),
    Column("kind_b", String),
    Column("value_b", String),
    Column("source", String),
    Column("confidence", Double),
)
_START = datetime(2025, 1, 1)  # noqa: DTZ001 - a warehouse's column without a zone
_ARTICLES = ("tea", "kettle", "cup", "spoon", "tray")
_PAGES = ("/", "/tea", "/basket", "/help")

# More alternatives than these make one expression too large for DuckDB's matcher.
_VALUES_PER_LOOK = 500

_Rows = list[tuple[Any, ...]]

# DuckDB reads PostgreSQL's quoting and types; SQLAlchemy only compiles here and has no connection.
_DIALECT = PGDialect(paramstyle="qmark")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
_every = func.duckdb_columns().table_valued("table_name", "column_name", "internal", name="every_column")
_EVERY_COLUMN = (
    select(_every.c.table_name, func.list(_every.c.column_name)).where(~_every.c.internal).group_by(_every.c.table_name)
)


def warehouse_policy() -> dict[str, Any]:
    """`[systems.policy]` for these tables. Links come from the foreign keys."""
    return {
        "tables": [
            {
                "name": "customers",
                "identifiers": {"email": "email", "phone": "phone", "customer_id": "customer_id"},
                "key": ["customer_id"],
            },
            {"name": "addresses", "identifiers": {"customer_id": "customer_id"}, "key": ["address_id"]},
            {
                "name": "orders",
                "identifiers": {"email": "contact_email", "customer_id": "customer_id"},
                "key": ["order_id"],
            },
            {"name": "order_items"},
            {"name": "events", "identifiers": {"anonymous_id": "anonymous_id", "email": "email"}, "key": ["event_id"]},
            {"name": "newsletter", "identifiers": {"email": "email"}},
        ],
        "identity_graph": {"table": "identity_edges", "columns": edge_columns()},
    }


def edge_columns() -> dict[str, str]:
    """The columns of the edge list, for `[identity_graph]` and for the policy."""
    return {
        "left_kind": "kind_a",
        "left_value": "value_a",
        "right_kind": "kind_b",
        "right_value": "value_b",
        "source": "source",
        "confidence": "confidence",
    }


def write_warehouse(path: Path, people: Sequence[SamplePerson], edges: Iterable[tuple[Any, ...]]) -> None:
    """Create the file, which must not exist yet.

    Rows are inserted as bound lists, so that no personal data goes into temporary files.
    """
    if path.exists():
        raise FileExistsError("the sample warehouse exists already")
    tables = _rows(people)
    tables["identity_edges"] = list(edges)
    with duckdb.connect(str(path)) as connection:
        for rows in _tables.sorted_tables:
            _run(connection, CreateTable(rows))
            names = [each.name for each in rows.c]
            given = select(*(func.unnest(bindparam(name)) for name in names))
            lists = map(list, zip(*tables[rows.name], strict=True))
            _run(connection, insert(rows).from_select(names, given), **dict(zip(names, lists, strict=True)))


def _run(connection: duckdb.DuckDBPyConnection, statement: ClauseElement, **values: Any) -> _Rows:
    """Return the rows of a statement with these values bound by name."""
    compiled = statement.compile(dialect=_DIALECT)
    bound = {**(compiled.params or {}), **values}
    return connection.execute(str(compiled), [bound[name] for name in getattr(compiled, "positiontup", ())]).fetchall()


def remains(path: Path, values: Iterable[str]) -> dict[str, int]:
    """Rows per table in which one of `values` stands anywhere, without regard to case: the test's own eye."""
    wanted = [re.escape(value.lower()) for value in values]
    found: dict[str, int] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        for name, columns in _run(connection, _EVERY_COLUMN):
            # Column by column: the text of a whole row escapes apostrophes, and o'brien would not be found.
            text = func.lower(func.concat_ws("\n", *(column(quoted_name(each, quote=True)) for each in columns)))
            rows = table(quoted_name(name, quote=True))
            matching = select(func.count()).select_from(rows).where(func.regexp_matches(text, bindparam("pattern")))
            for start in range(0, len(wanted), _VALUES_PER_LOOK):
                ((count,),) = _run(connection, matching, pattern="|".join(wanted[start : start + _VALUES_PER_LOOK]))
                if count:
                    found[name] = found.get(name, 0) + count
    return found


@dataclass(frozen=True)
class HeldRows:
    """A table's rows.

    How many belong to some people, how many to others, and a hash of the others' content.
    """

    theirs: int
    others: int
    others_hash: str


_values: ColumnElement[Any] = bindparam("values")
_listed = select(func.unnest(_values))
_of_orders = func.list_has_any(_values, func.list_value(_orders.c.customer_id, _orders.c.contact_email))
_edge_values = (func.lower(func.trim(each, " \t")) for each in (_identity_edges.c.value_a, _identity_edges.c.value_b))
# Which rows belong to people, by their identifiers in normal form, which are bound as `values`.
_OWNED: dict[Table, ColumnElement[Any]] = {
    _customers: _customers.c.customer_id.in_(_listed),
    _addresses: _addresses.c.customer_id.in_(_listed),
    _orders: _of_orders,
    _order_items: _order_items.c.order_id.in_(select(_orders.c.order_id).where(_of_orders)),
    _events: func.list_has_any(_values, func.list_value(_events.c.anonymous_id, _events.c.email)),
    _newsletter: _newsletter.c.email.in_(_listed),
    _identity_edges: func.list_has_any(
        _values,
        func.list_value(_identity_edges.c.value_a, *_edge_values, _identity_edges.c.value_b),
    ),
}


def held_rows(path: Path, people: Iterable[SamplePerson]) -> dict[str, HeldRows]:
    """Count the rows of `people` and of all others, by table.

    Raises duckdb.IOException if the file is locked.
    """
    values = sorted({value for person in people for value in person.residue_values})
    held: dict[str, HeldRows] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        for rows, condition in _OWNED.items():
            content = func.hash(cast(rows.table_valued(), String))
            marked = select(func.coalesce(condition, false()).label("owned"), content.label("content")).subquery()
            is_theirs, is_others = marked.c.owned, ~marked.c.owned
            look = select(
                func.count().filter(is_theirs),
                func.count().filter(is_others),
                func.coalesce(func.sum(marked.c.content).filter(is_others), 0),
            ).select_from(marked)
            ((theirs, others, others_hash),) = _run(connection, look, values=values)
            held[rows.name] = HeldRows(theirs, others, str(others_hash))
    return held


def _rows(people: Sequence[SamplePerson]) -> dict[str, _Rows]:
    tables: dict[str, _Rows] = {
        name: [] for name in ("customers", "addresses", "orders", "order_items", "events", "newsletter")
    }
    for person in people:
        at = _START + timedelta(hours=person.number % 8000)
        phone = person.household_phone or (person.phones[0] if person.phones else None)
        tables["customers"].append((person.customer_id, person.name, person.emails[0], phone, at))
        for _ in range(1 + person.number % 4 // 3):
            address = (
                len(tables["addresses"]),
                person.customer_id,
                f"{person.number % 99 + 1} Sample Street",
                "Testville",
            )
            tables["addresses"].append(address)
        _add_orders(tables, person, at)
        for n in range(2 + person.number % 3):
            known = person.emails[0] if n == 0 else None
            anonymous_id = person.anonymous_ids[n % len(person.anonymous_ids)]
            page = _PAGES[(person.number + n) % len(_PAGES)]
            tables["events"].append((len(tables["events"]), anonymous_id, known, page, at + timedelta(minutes=n)))
        if person.number % 2 == 0:
            tables["newsletter"].append((person.emails[-1], at))
    return tables


def _add_orders(tables: dict[str, _Rows], person: SamplePerson, at: datetime) -> None:
    for n in range(person.number % 3):
        order_id = len(tables["orders"])
        email = person.emails[n % len(person.emails)]
        tables["orders"].append(
            (order_id, person.customer_id, email, 1000 + person.number % 900, at + timedelta(days=n))
        )
        for _ in range(1 + n):
            article = _ARTICLES[order_id % len(_ARTICLES)]
            tables["order_items"].append((len(tables["order_items"]), order_id, article, 1 + n))
