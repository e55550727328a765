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

if TYPE_CHECKING:
    from connectors.testing.sandbox.sample_world import SamplePerson

_SCHEMA = """
CREATE TABLE customers (customer_id VARCHAR PRIMARY KEY, name VARCHAR, email VARCHAR, phone VARCHAR, since TIMESTAMP);
CREATE TABLE addresses (
    address_id INTEGER PRIMARY KEY, customer_id VARCHAR REFERENCES customers (customer_id),
    street VARCHAR, city VARCHAR);
CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY, customer_id VARCHAR REFERENCES customers (customer_id), contact_email VARCHAR,
    total_cents INTEGER, placed_at TIMESTAMP);
CREATE TABLE order_items (
    item_id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (order_id), article VARCHAR, quantity INTEGER);
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY, anonymous_id VARCHAR, email VARCHAR, page VARCHAR, seen_at TIMESTAMP);
CREATE TABLE newsletter (email VARCHAR, subscribed_at TIMESTAMP);
CREATE TABLE identity_edges (
    kind_a VARCHAR, value_a VARCHAR, kind_b VARCHAR, value_b VARCHAR, source VARCHAR, confidence DOUBLE);
"""
_START = datetime(2025, 1, 1)  # noqa: DTZ001 - a warehouse's column without a zone
_ARTICLES = ("tea", "kettle", "cup", "spoon", "tray")
_PAGES = ("/", "/tea", "/basket", "/help")

# More alternatives than these make one expression too large for DuckDB's matcher.
_VALUES_PER_LOOK = 500

_Rows = list[tuple[Any, ...]]


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
        connection.execute(_SCHEMA)
        for table, rows in tables.items():
            columns = [list(column) for column in zip(*rows, strict=True)]
            lists = ", ".join("unnest(?)" for _ in columns)
            connection.execute(f"INSERT INTO {table} SELECT {lists}", columns)


def remains(path: Path, values: Iterable[str]) -> dict[str, int]:
    """Rows per table in which one of `values` stands anywhere, without regard to case: the test's own eye."""
    wanted = [re.escape(value.lower()) for value in values]
    found: dict[str, int] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE NOT internal GROUP BY table_name"
        ).fetchall()
        for table, columns in tables:
            # Column by column: the text of a whole row escapes apostrophes, and o'brien would not be found.
            quoted = ", ".join(f'"{column}"' for column in columns)
            text = f"lower(concat_ws(chr(10), {quoted}))"
            for start in range(0, len(wanted), _VALUES_PER_LOOK):
                (n,) = connection.execute(
                    f'SELECT count(*) FROM "{table}" WHERE regexp_matches({text}, ?)',  # noqa: S608 - from the catalogue
                    ["|".join(wanted[start : start + _VALUES_PER_LOOK])],
                ).fetchall()[0]
                if n:
                    found[table] = found.get(table, 0) + n
    return found


@dataclass(frozen=True)
class HeldRows:
    """A table's rows.

    How many belong to some people, how many to others, and a hash of the others' content.
    """

    theirs: int
    others: int
    others_hash: str


_EDGE_VALUES = ", ".join(f"{column}, lower(trim({column}, E' \\t'))" for column in ("value_a", "value_b"))
# Which rows belong to people, by their identifiers in normal form (the parameter, which each condition uses once).
_OWNED = {
    "customers": "customer_id IN (SELECT unnest(?))",
    "addresses": "customer_id IN (SELECT unnest(?))",
    "orders": "list_has_any(?, [customer_id, contact_email])",
    "order_items": "order_id IN (SELECT order_id FROM orders WHERE list_has_any(?, [customer_id, contact_email]))",
    "events": "list_has_any(?, [anonymous_id, email])",
    "newsletter": "email IN (SELECT unnest(?))",
    "identity_edges": f"list_has_any(?, [{_EDGE_VALUES}])",
}


def held_rows(path: Path, people: Iterable[SamplePerson]) -> dict[str, HeldRows]:
    """Count the rows of `people` and of all others, by table.

    Raises duckdb.IOException if the file is locked.
    """
    values = sorted({value for person in people for value in person.residue_values})
    held: dict[str, HeldRows] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        for table, condition in _OWNED.items():
            look = (
                "SELECT count(*) FILTER (owned), count(*) FILTER (NOT owned), "  # noqa: S608 - from our own table
                "coalesce(sum(row_hash) FILTER (NOT owned), 0) FROM (SELECT "
                f"coalesce({condition}, false) AS owned, hash(CAST(t AS VARCHAR)) AS row_hash FROM {table} t)"
            )
            theirs, others, content = connection.execute(look, [values]).fetchall()[0]
            held[table] = HeldRows(theirs, others, str(content))
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
