"""The identity graph's own rows as a system of their own."""

from connectors.base import operations
from connectors.base.values import Answer, Identifier, Located, Subject
from connectors.warehouse.connector import WarehouseConnector

from .conftest import ADA, GRAPH, NOBODY, TABLES, Bench, FakeLease, batch


def test_edges_go_on_whichever_side_the_person_stands(bench: Bench) -> None:
    connector = bench.connector(graph=GRAPH)
    bench.execute("INSERT INTO edges VALUES ('device', 'd1', 'email', 'ADA@example.test', NULL, NULL)")
    located = operations.locate(connector, batch(ADA, NOBODY))
    assert located["ada"] == Located(counts={"edges": 3})
    assert operations.erase(connector, batch(ADA), FakeLease())["ada"] == Answer.erased({"edges": 3})
    assert [row[1] for row in bench.rows("edges")] == ["C-11", "C-2"]
    assert operations.confirm_absence(connector, batch(ADA))["ada"] == Answer.already_absent()


def test_any_kind_may_stand_in_the_graph(bench: Bench) -> None:
    bench.execute("INSERT INTO edges VALUES ('salesforce_contact_id', '003A', 'email', 'q@example.test', NULL, NULL)")
    subject = Subject("q", (Identifier("salesforce_contact_id", "003A"),))
    assert operations.erase(bench.connector(graph=GRAPH), batch(subject), FakeLease())["q"] == Answer.erased(
        {"edges": 1}
    )
    tables_only = operations.erase(bench.connector(*TABLES), batch(subject), FakeLease())["q"]
    assert tables_only == Answer.not_addressable()


def test_who_may_not_proceed_keeps_their_edges(bench: Bench) -> None:
    before = bench.rows("edges")
    operations.erase(bench.connector(graph=GRAPH), batch(ADA), FakeLease(stop=frozenset({"ada"})))
    assert bench.rows("edges") == before


def test_kinds_are_those_of_the_tables(bench: Bench) -> None:
    connector = bench.connector(TABLES[3])
    assert connector.declaration.identifier_kinds == {"email", "anonymous_id"}
    assert WarehouseConnector.declaration.identifier_kinds == {"email", "phone", "customer_id", "anonymous_id"}
