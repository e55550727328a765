"""Tables and columns with names that would end a badly quoted identifier, in both databases."""

from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import RequestRefused
from connectors.base.identity_source import Edge
from connectors.base.values import Answer, Identifier, Located, Record
from connectors.warehouse.identity_source import open_identity_source

from .conftest import ADA, BOB, Bench, FakeLease, batch, planned

HOSTILE = (
    'quo"te',
    '"; DROP TABLE customers; --',
    "apo'strophe",
    "dot.ted.name",
    "select",
    "Upper Case",
    "ünï→表",
    "100%s %(ref)s %%",
    "a ? b $1 :ref {ref}",
    "back\\slash",
    "line\nbreak\ttab",
    "(SELECT 1)",
    "expunge_hit_0",
)


def quoted(name: str) -> str:
    """The test's own quoting, for what it makes and reads itself."""
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_of_any_name_loses_the_person_and_nobody_else(bench: Bench, name: str) -> None:
    table, child = f"{quoted(name)}.{quoted(name)}", f"{quoted(name)}.{quoted(name + '2')}"
    key, link, email = (quoted(f"{name} {n}") for n in range(3))
    bench.execute(f"CREATE SCHEMA {quoted(name)}")
    bench.execute(f"CREATE TABLE {table} ({key} VARCHAR(40) PRIMARY KEY, {email} VARCHAR(200))")
    bench.execute(f"CREATE TABLE {child} ({key} INTEGER, {email} VARCHAR(200), {link} VARCHAR(40) REFERENCES {table})")
    bench.execute(f"INSERT INTO {table} VALUES ('1,a', 'Ada@example.test'), ('2', 'bob@example.test')")
    bench.execute(f"INSERT INTO {child} VALUES (1, NULL, '1,a'), (2, NULL, '2'), (3, 'ada@example.test', '2')")
    policy: tuple[dict[str, Any], ...] = (
        {"name": table, "identifiers": {"email": f"{name} 2"}},
        {"name": child, "identifiers": {"email": f"{name} 2"}, "key": [f"{name} 0", f"{name} 1"]},
    )
    connector, customers = bench.connector(*policy), bench.rows("customers")

    found = operations.locate(connector, batch(ADA))["ada"]
    assert isinstance(found, Located)
    assert found.counts == {table: 1, child: 2}
    assert found.records == (Record(child, "3,2"),), "this row hangs on Bob's"

    first = operations.erase(connector, batch(ADA), FakeLease())["ada"]
    assert isinstance(first, Answer)
    assert first.reason == "not_in_plan"
    answer = operations.erase(connector, batch(planned(ADA, Record(child, "3,2"))), FakeLease())["ada"]
    assert answer == Answer.erased({child: 1})
    assert operations.confirm_absence(connector, batch(ADA))["ada"] == Answer.already_absent()
    assert bench.rows(table) == [("2", "bob@example.test")]
    assert bench.rows(child) == [(2, None, "2")]
    assert bench.rows("customers") == customers


@pytest.mark.parametrize("name", HOSTILE)
def test_columns_of_any_name_are_emptied_and_no_other(bench: Bench, name: str) -> None:
    table, email, other = (quoted(f"{name}{n}") for n in range(3))
    bench.execute(f"CREATE TABLE {table} (n INTEGER, {email} VARCHAR(200), {other} VARCHAR(40))")
    bench.execute(f"INSERT INTO {table} VALUES (1, 'ada@example.test', 'x'), (2, 'bob@example.test', 'y')")
    emptied = {
        "name": table,
        "identifiers": {"email": f"{name}1"},
        "action": "null",
        "columns": [f"{name}1", f"{name}2"],
    }
    connector = bench.connector(emptied)
    assert operations.erase(connector, batch(ADA), FakeLease())["ada"] == Answer.erased({table: 1})
    assert bench.rows(table) == [(1, None, None), (2, "bob@example.test", "y")]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_graph_of_any_name_is_read_and_erased(bench: Bench, name: str) -> None:
    table = quoted(name)
    columns = {end: f"{name} {end}" for end in ("left_kind", "left_value", "right_kind", "right_value", "source")}
    named = ", ".join(f"{quoted(column)} VARCHAR(40)" for column in columns.values())
    bench.execute(f"CREATE TABLE {table} ({named})")
    bench.execute(f"INSERT INTO {table} VALUES ('email', 'ada@example.test', 'customer_id', 'C-1', 'crm')")
    bench.execute(f"INSERT INTO {table} VALUES ('email', 'bob@example.test', 'customer_id', 'C-2', 'crm')")
    graph = {"table": table, "columns": columns}
    source = open_identity_source({"base_url": bench.base_url, "credentials": bench.credentials, **graph})
    email = Identifier("email", "ada@example.test")
    assert source.neighbours([email], max_neighbours=3)[email].edges == (Edge(Identifier("customer_id", "C-1"), "crm"),)
    assert operations.erase(bench.connector(graph=graph), batch(ADA), FakeLease())["ada"] == Answer.erased({table: 1})
    assert [row[1] for row in bench.rows(table)] == ["bob@example.test"]


def test_a_new_primary_key_is_used_from_the_next_look_on(bench: Bench) -> None:
    """Statements are kept for as long as the tables are the same, and no longer."""
    bench.execute("CREATE TABLE logins (a INTEGER, b INTEGER, email VARCHAR(200), phone VARCHAR(40))")
    bench.execute("INSERT INTO logins VALUES (1, 7, 'ada@example.test', 'x')")
    connector = bench.connector({"name": "logins", "identifiers": {"email": "email", "phone": "phone"}})
    no_key = operations.locate(connector, batch(ADA))["ada"]
    assert isinstance(no_key, RequestRefused)
    for key in ("a", "b"):
        bench.execute(
            "CREATE TABLE next_logins (a INTEGER, b INTEGER, email VARCHAR(200), phone VARCHAR(40), "
            f"PRIMARY KEY ({key}))"
        )
        bench.execute("INSERT INTO next_logins SELECT * FROM logins")
        bench.execute("DROP TABLE logins")
        bench.execute("ALTER TABLE next_logins RENAME TO logins")
        found = operations.locate(connector, batch(ADA, BOB))["ada"]
        assert isinstance(found, Located)
        assert found.records == (Record("logins", {"a": "1", "b": "7"}[key]),)
