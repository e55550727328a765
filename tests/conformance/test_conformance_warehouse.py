"""A DuckDB warehouse under the suite: customers with orders. No HTTP: faults of the wire are skipped by capability."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from connectors.testing.conformance import ConformanceSuite, Need, RunningVendor, TestPerson, VendorFixture
from connectors.testing.sandbox import Sandbox

_TABLES = """
CREATE TABLE customers (id BIGINT PRIMARY KEY, email VARCHAR, name VARCHAR);
CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id BIGINT REFERENCES customers (id), note VARCHAR);
INSERT INTO customers VALUES (1, 'control@acme.example', 'Control');
"""
_POLICY = {
    "tables": [
        {"name": "customers", "identifiers": {"email": "email"}, "key": ["id"], "action": "delete"},
        {"name": "orders", "key": ["id"], "action": "delete"},
    ]
}
_FILE_ONLY = "a DuckDB file is opened, not called"
# A file system without a disk: every case opens a database of its own many times.
_MEMORY = Path("/dev/shm")


class WarehouseStage:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self._seen: list[dict[str, Any]] | None = None
        self.sandbox: Sandbox | None = None

    def entry(self) -> dict[str, Any]:
        return {
            "name": "warehouse",
            "connector": "warehouse",
            "base_url": f"duckdb:///{self._path}",
            "policy": _POLICY,
            "delays": {"confirm_after": 0},
        }

    def reset(self, options: Mapping[str, Any] | None = None) -> None:
        self._files += 1
        template = self._folder / "template.duckdb"
        if not template.exists():
            with duckdb.connect(str(template)) as connection:
                connection.execute(_TABLES)
        shutil.copyfile(template, self._path)

    def seed(self, people: Sequence[TestPerson]) -> None:
        with duckdb.connect(str(self._path)) as connection:
            for person in people:
                row = [_id(person.ref), person.identifier.value, person.name]
                connection.execute("INSERT INTO customers VALUES (?, ?, ?)", row)
                for n in range(person.related):
                    note = [_id(f"{person.ref}/{n}"), _id(person.ref), f"for {person.name}"]
                    connection.execute("INSERT INTO orders VALUES (?, ?, ?)", note)
            # The suite looks right after each seed; opening the file is most of a case's time.
            self._seen = _rows(connection)

    def rows(self) -> list[dict[str, Any]]:
        seen, self._seen = self._seen, None
        if seen is not None:
            return seen
        # Opened as the connector opens it: within a process DuckDB refuses a second way.
        with duckdb.connect(str(self._path)) as connection:
            return _rows(connection)

    @property
    def _path(self) -> Path:
        return self._folder / f"warehouse-{self._files}.duckdb"


def _rows(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    found = []
    for table in ("customers", "orders"):
        cursor = connection.execute(f"SELECT * FROM {table} WHERE id <> 1")
        names = [column[0] for column in cursor.description or ()]
        found += [{"object": table, **dict(zip(names, row, strict=True))} for row in cursor.fetchall()]
    return found


def _id(ref: str) -> int:
    return 100 + int(hashlib.sha256(ref.encode()).hexdigest(), 16) % 10**9


class WarehouseFixture(VendorFixture):
    name = "warehouse"
    lacks: ClassVar[Mapping[Need, str]] = {
        Need.HTTP: _FILE_ONLY,
        Need.PAGES: "one set-based query answers whole",
        Need.JOBS: "a transaction is done or not",
        Need.BLIND: _FILE_ONLY,
    }

    @contextmanager
    def open(self) -> Iterator[RunningVendor]:
        with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            yield WarehouseStage(Path(folder))


class TestWarehouse(ConformanceSuite):
    vendor = WarehouseFixture()
