"""A small shop in a real DuckDB file and in a real PostgreSQL database: Ada's rows, and her neighbours' around them."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import psycopg
import pytest
from sqlalchemy import make_url

from connectors.base.errors import LeaseLost
from connectors.base.values import Batch, Identifier, Record, Subject
from connectors.warehouse.connector import WarehouseConnector

SHOP = """
CREATE TABLE customers (id VARCHAR(20) PRIMARY KEY, email VARCHAR(200), phone VARCHAR(40), name VARCHAR(200));
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id VARCHAR(20) REFERENCES customers (id), contact_email VARCHAR(200));
CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id), article VARCHAR(20));
CREATE TABLE events (id INTEGER, email VARCHAR(200), anonymous_id VARCHAR(40), page VARCHAR(20));
CREATE TABLE edges (ka VARCHAR(40), va VARCHAR(200), kb VARCHAR(40), vb VARCHAR(200), src VARCHAR(20), conf FLOAT);
INSERT INTO customers VALUES ('C-1', 'Ada@Example.Test ', '+12015550101', 'Ada'),
    ('C-2', 'bob@example.test', NULL, 'Bob'),
    ('C-11', 'xada@example.test', '', 'Xada'), ('C-3', 'ada@example.test.example', '  ', 'Near');
INSERT INTO orders VALUES (1, 'C-1', 'ada@example.test'), (2, 'C-2', NULL), (3, 'C-1', NULL), (11, 'C-11', NULL);
INSERT INTO order_items VALUES (1, 1, 'tea'), (2, 2, 'tea'), (3, 3, 'cup'), (4, 3, 'pot'), (5, 11, 'cup');
INSERT INTO events VALUES (1, NULL, 'anon-1', '/'), (2, 'ADA@example.test', 'anon-1', '/tea'),
    (3, NULL, 'anon-11', '/');
INSERT INTO edges VALUES ('customer_id', 'C-1', 'email', ' ADA@example.test', 'crm', 0.5),
    ('anonymous_id', 'anon-1', 'customer_id', 'C-1', 'web', 0.75),
    ('customer_id', 'C-2', 'email', 'bob@example.test', 'crm', 1),
    ('customer_id', 'C-11', 'email', 'xada@example.test', 'crm', 1);
"""

GRAPH = {
    "table": "edges",
    "columns": {
        "left_kind": "ka",
        "left_value": "va",
        "right_kind": "kb",
        "right_value": "vb",
        "source": "src",
        "confidence": "conf",
    },
}

TABLES: tuple[dict[str, Any], ...] = (
    {"name": "order_items"},
    {"name": "orders", "identifiers": {"email": "contact_email", "customer_id": "customer_id"}},
    {"name": "customers", "identifiers": {"email": "email", "phone": "phone", "customer_id": "id"}},
    {"name": "events", "identifiers": {"email": "email", "anonymous_id": "anonymous_id"}, "key": ["id"]},
)

ALL_TABLES = ("customers", "orders", "order_items", "events", "edges")

ADA = Subject(
    "ada",
    (
        Identifier("email", "ada@example.test"),
        Identifier("phone", "+12015550101"),
        Identifier("customer_id", "C-1"),
        Identifier("anonymous_id", "anon-1"),
    ),
)
BOB = Subject("bob", (Identifier("email", "bob@example.test"), Identifier("customer_id", "C-2")))
NOBODY = Subject("nobody", (Identifier("email", "nobody@example.test"), Identifier("customer_id", "C-4")))


def batch(*people: Subject) -> Batch:
    return Batch("batch-1", people)


def planned(subject: Subject, *records: Record) -> Subject:
    return Subject(subject.ref, subject.identifiers, records)


class Killed(Exception):  # noqa: N818 - not an error of anybody's
    """The process ends here."""


@dataclass
class FakeLease:
    """The engine's side. `stop`: who may not proceed. `lost_at` / `killed_at`: at which question, counted from 1."""

    resume_token: bytes | None = None
    stop: frozenset[str] = frozenset()
    lost_at: int | None = None
    killed_at: int | None = None
    asked: list[str] = field(default_factory=list)

    def save(self, resume_token: bytes) -> None:
        self.resume_token = resume_token

    def may_proceed(self, ref: str) -> bool:
        self.asked.append(ref)
        if len(self.asked) == self.lost_at:
            raise LeaseLost
        if len(self.asked) == self.killed_at:
            raise Killed
        return ref not in self.stop


class Bench:
    """One warehouse, seen by the test with its own eyes: no code of the connector's."""

    kind: str
    base_url: str
    credentials: Mapping[str, str]

    def connected(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def execute(self, sql: str) -> None:
        with self.connected() as connection:
            for statement in sql.split(";\n"):
                if statement.strip():
                    connection.execute(statement)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with self.connected() as connection:
            return sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)

    def snapshot(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        return {table: self.rows(table) for table in tables or ALL_TABLES}

    def ids(self, table: str) -> list[Any]:
        return sorted(row[0] for row in self.rows(table))

    def connector(self, *tables: Mapping[str, Any], graph: Any = None, **policy: Any) -> WarehouseConnector:
        entry = {
            "name": "shop",
            "connector": "warehouse",
            "base_url": self.base_url,
            "credentials": self.credentials,
            "policy": {"tables": list(tables), **({"identity_graph": graph} if graph else {}), **policy},
        }
        return WarehouseConnector(WarehouseConnector.parse_system(entry))

    def shop(self, graph: Any = GRAPH) -> WarehouseConnector:
        return self.connector(*TABLES, graph=graph)


class DuckdbBench(Bench):
    kind = "duckdb"
    credentials: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base_url = f"duckdb://{path}"

    @contextmanager
    def connected(self) -> Iterator[Any]:
        with duckdb.connect(str(self.path)) as connection:
            yield connection


class PostgresqlBench(Bench):
    kind = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        host = self._url.query["host"]
        assert isinstance(host, str)
        assert self._url.username is not None
        assert self._url.password is not None
        self.base_url = f"postgresql:///{self._url.database}?host={quote(host, safe='')}"
        self.credentials = {"user": self._url.username, "password": str(self._url.password)}

    @contextmanager
    def connected(self) -> Iterator[Any]:
        with psycopg.connect(self._url.render_as_string(hide_password=False), autocommit=True) as connection:
            yield connection


@pytest.fixture(scope="session")
def _shop_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bench = DuckdbBench(tmp_path_factory.mktemp("shop") / "shop.duckdb")
    bench.execute(SHOP)
    return bench.path


@pytest.fixture
def duckdb_bench(tmp_path: Path, _shop_file: Path) -> DuckdbBench:
    bench = DuckdbBench(tmp_path / "with space" / "shop.duckdb")
    bench.path.parent.mkdir()
    shutil.copyfile(_shop_file, bench.path)
    return bench


@pytest.fixture
def postgresql_bench(blank_database_url: str) -> PostgresqlBench:
    bench = PostgresqlBench(blank_database_url)
    bench.execute(SHOP)
    return bench


@pytest.fixture(params=["duckdb", "postgresql"])
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(f"{request.param}_bench")
    return found
