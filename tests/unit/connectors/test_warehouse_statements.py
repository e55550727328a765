"""The text of the warehouse connector's statements for one person, for each dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from connectors.base.values import Identifier, Record, Subject
from connectors.warehouse.dialects import Compiled, DuckdbDialect, PostgresqlDialect, WarehouseDialect
from connectors.warehouse.erasure import Erasure
from connectors.warehouse.graph_rows import neighbours
from connectors.warehouse.layout import read_layout
from connectors.warehouse.look import look, look_at_edges
from connectors.warehouse.policy import WarehousePolicy
from connectors.warehouse.session import Given, Reference, Row, Session, TableFacts
from connectors.warehouse.staging_statements import Statements

DIALECTS = (DuckdbDialect(), PostgresqlDialect("pg_c_utf8"))
ADA = Subject(
    "ada",
    (Identifier("email", "ada@example.test"), Identifier("customer_id", "C-1")),
    (Record("shop.orders", "1,x"),),
)
POLICY = {
    "tables": [
        {"name": "customers", "identifiers": {"email": "email", "customer_id": "id"}},
        {"name": "shop.orders", "identifiers": {"email": "contact"}, "key": ["id", "part"]},
        {
            "name": "notes",
            "identifiers": {"customer_id": "customer"},
            "key": "n",
            "action": "null",
            "columns": ["customer", "text"],
            "parents": [{"column": "customer", "table": "customers", "references": "id"}],
        },
    ],
    "identity_graph": {
        "table": "edges",
        "columns": {"left_kind": "ka", "left_value": "va", "right_kind": "kb", "right_value": "vb", "source": "src"},
    },
}
COLUMNS = {
    ("customers",): (("id", "email"), ("id",)),
    ("shop", "orders"): (("id", "part", "contact", "customer_id"), ()),
    ("notes",): (("n", "customer", "text"), ()),
    ("edges",): (("ka", "va", "kb", "vb", "src"), ()),
}


class RecordingSession(Session):
    """A session without a database: it keeps each statement's text, and one row of Ada's is in every stage."""

    levels_apart = False

    def __init__(self, dialect: WarehouseDialect, columns: Mapping[tuple[str, ...], Any] = COLUMNS) -> None:
        self.dialect = dialect
        self.columns = columns
        self.texts: list[str] = []
        self.bound: list[object] = []

    def rows(self, statement: Compiled, given: Given | None = None) -> list[Row]:
        self.run(statement, given)
        return [(1,)] if statement.text.startswith("SELECT count(*)") else []

    def change(self, statement: Compiled) -> int:
        self.run(statement)
        return 1

    def run(self, statement: Compiled, given: Given | None = None) -> None:
        self.texts.append(statement.text)
        self.bound.append(statement.values(given or {}))

    def transaction(self, *, keep: bool) -> AbstractContextManager[None]:
        self.texts.append("BEGIN, then COMMIT" if keep else "BEGIN, then ROLLBACK")
        return nullcontext()

    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        found = ((name, *self.columns[name]) for name in names)
        return [TableFacts(name, True, dict.fromkeys(columns, True), key) for name, columns, key in found]

    def references(self) -> list[Reference]:
        return [Reference(("shop", "orders"), "orders", ("customer_id",), ("customers",), ("id",))]

    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        """Everything is allowed."""


class Lease:
    """The engine's side: everything may proceed."""

    resume_token: bytes | None = None

    def save(self, resume_token: bytes) -> None:
        self.resume_token = resume_token

    def may_proceed(self, ref: str) -> bool:
        return True


def said(dialect: WarehouseDialect) -> str:
    """Every statement of a look, an erasure, and one round of the identity graph, for one person."""
    policy = WarehousePolicy.model_validate(POLICY)
    session = RecordingSession(dialect)
    statements = Statements(dialect, read_layout(session, policy))
    graph = policy.identity_graph
    assert graph is not None
    snapshots = look(session, statements, [ADA], one_by_one=True, heed_plan=False)
    look_at_edges(session, statements, graph, [ADA], snapshots)
    tables = statements.layout.tables
    session.texts += [statements.list_rows("unclear", table, 1001).text for table in tables]
    session.texts += [s.text for table in tables for _, s in statements.list_parents(table, one_by_one=True)]
    erasure = Erasure(session, statements, Lease())
    erasure.erase_rows([ADA])
    erasure.erase_edges(graph, [ADA])
    neighbours(session, graph, ADA.identifiers, 10)
    return ";\n\n".join(dict.fromkeys(session.texts)) + ";\n"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.kind)
def test_the_statements_for_one_person(dialect: WarehouseDialect) -> None:
    recorded = Path(__file__).with_name(f"warehouse_statements_{dialect.kind}.sql")
    assert said(dialect) == recorded.read_text(encoding="utf-8")
