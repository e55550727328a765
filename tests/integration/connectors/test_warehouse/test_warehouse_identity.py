"""Rounds of the identity graph's walk, on real databases, against a naive look at the same edges."""

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.base.config import ConfigurationError
from connectors.base.errors import AnswerNotUnderstood
from connectors.base.identity_source import Edge, IdentitySource
from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_warehouse import edge_columns
from connectors.testing.sandbox.sample_world import PLACEHOLDER_EMAIL, SampleWorld
from connectors.warehouse.dialects import Compiled
from connectors.warehouse.identity_source import open_identity_source
from connectors.warehouse.session import Given, Session

from .conftest import GRAPH, Bench, DuckdbBench, PostgresqlBench

ADA_EMAIL = Identifier("email", "ada@example.test")


def _source(bench: Bench, **changes: Any) -> IdentitySource:
    return open_identity_source({"base_url": bench.base_url, "credentials": bench.credentials, **GRAPH, **changes})


def test_neighbours_both_ways_round_with_their_evidence(bench: Bench) -> None:
    found = _source(bench).neighbours([Identifier("customer_id", "C-1")], max_neighbours=10)
    (answer,) = found.values()
    assert answer.degree == 2
    assert answer.spellings == {"C-1"}
    assert set(answer.edges) == {
        Edge(Identifier("email", " ADA@example.test"), "crm", 0.5),
        Edge(Identifier("anonymous_id", "anon-1"), "web", 0.75),
    }


def test_an_edge_says_when_it_was_seen(bench: Bench) -> None:
    bench.execute("ALTER TABLE edges ADD COLUMN first_at DATE")
    bench.execute("ALTER TABLE edges ADD COLUMN last_at TIMESTAMP")
    bench.execute("UPDATE edges SET first_at = DATE '2025-03-01', last_at = TIMESTAMP '2026-10-02 08:30:00'")
    columns = {**GRAPH["columns"], "first_seen": "first_at", "last_seen": "last_at"}
    found = _source(bench, columns=columns).neighbours([Identifier("customer_id", "C-1")], max_neighbours=10)
    (answer,) = found.values()
    seen = {(edge.first_seen_at, edge.last_seen_at) for edge in answer.edges}
    assert seen == {(datetime(2025, 3, 1, tzinfo=UTC), datetime(2026, 10, 2, 8, 30, tzinfo=UTC))}


def test_a_date_that_is_none_stops_no_walk(bench: Bench) -> None:
    bench.execute("ALTER TABLE edges ADD COLUMN seen VARCHAR(40)")
    bench.execute("UPDATE edges SET seen = 'last summer' WHERE vb LIKE 'anon%' OR va LIKE 'anon%'")
    columns = {**GRAPH["columns"], "first_seen": "seen"}
    found = _source(bench, columns=columns).neighbours([Identifier("customer_id", "C-1")], max_neighbours=10)
    (answer,) = found.values()
    assert (answer.degree, {edge.first_seen_at for edge in answer.edges}) == (2, {None})


def test_an_email_is_found_however_it_is_spelt_and_says_how(bench: Bench) -> None:
    bench.execute("INSERT INTO edges VALUES ('email', 'ada@EXAMPLE.test\t', 'phone', '+12015550101', NULL, NULL)")
    found = _source(bench).neighbours([Identifier("email", "Ada@example.test")], max_neighbours=10)
    (answer,) = found.values()
    assert answer.spellings == {" ADA@example.test", "ada@EXAMPLE.test\t"}
    assert {edge.other for edge in answer.edges} == {
        Identifier("customer_id", "C-1"),
        Identifier("phone", "+12015550101"),
    }


def test_other_kinds_are_compared_with_case_and_prefixes_are_nobody(bench: Bench) -> None:
    asked = [Identifier("customer_id", v) for v in ("c-1", "C-", "%", "C-1'")] + [
        Identifier("email", "da@example.test")
    ]
    assert _source(bench).neighbours(asked, max_neighbours=10) == {}


def test_an_identifier_of_another_kind_with_the_same_value_is_another(bench: Bench) -> None:
    assert _source(bench).neighbours([Identifier("phone", "C-1")], max_neighbours=10) == {}


def test_capitals_beyond_ascii_are_folded(bench: Bench) -> None:
    bench.execute("INSERT INTO edges VALUES ('email', 'ZOË.ÜN@example.test', 'phone', '1', NULL, NULL)")
    assert _source(bench).neighbours([Identifier("email", "zoë.ün@example.test")], max_neighbours=10)


def test_also_in_a_column_that_knows_ascii_only(postgresql_bench: PostgresqlBench) -> None:
    postgresql_bench.execute('ALTER TABLE edges ALTER COLUMN va TYPE varchar(200) COLLATE "C"')
    postgresql_bench.execute("INSERT INTO edges VALUES ('email', 'ZOË.ÜN@example.test', 'phone', '1', NULL, NULL)")
    assert _source(postgresql_bench).neighbours([Identifier("email", "zoë.ün@example.test")], max_neighbours=10)


def test_nothing_stands_for_nobody(bench: Bench) -> None:
    bench.execute(
        "INSERT INTO edges VALUES ('email', 'e@example.test', NULL, 'x', NULL, NULL), "
        "('email', 'e@example.test', 'phone', NULL, NULL, NULL), "
        "('email', 'e@example.test', 'phone', ' \t', NULL, NULL), "
        "('', 'y', 'email', 'e@example.test', NULL, NULL), "
        "('email', 'E@example.test ', 'email', 'e@example.test', NULL, NULL)"
    )
    found = _source(bench).neighbours([Identifier("email", "e@example.test")], max_neighbours=10)
    (answer,) = found.values()
    assert (answer.edges, answer.degree) == ((), 0)
    assert answer.spellings == {"e@example.test", "E@example.test "}
    assert _source(bench).neighbours([Identifier("phone", ""), Identifier("phone", " ")], max_neighbours=10) == {}


def test_a_supernode_is_counted_and_not_brought_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(6):
        bench.execute(f"INSERT INTO edges VALUES ('email', 'test@test.com', 'customer_id', 'S-{n}', NULL, NULL)")
    bench.execute("INSERT INTO edges VALUES ('email', 'TEST@test.com', 'customer_id', ' S-0', NULL, NULL)")
    brought: list[int] = []
    for kind in ("duckdb_database.DuckdbSession", "postgresql_database.PostgresqlSession"):
        monkeypatch.setattr(f"connectors.warehouse.{kind}.rows", _counting(kind, brought))
    shared = Identifier("email", "test@test.com")
    answer = _source(bench).neighbours([shared], max_neighbours=5)[shared]
    assert (answer.degree, answer.edges) == (6, ())
    assert answer.spellings == {"test@test.com", "TEST@test.com"}
    assert brought == [2]
    answer = _source(bench).neighbours([shared], max_neighbours=6)[shared]
    assert answer.degree == 6
    assert len({edge.other for edge in answer.edges}) == 7  # both spellings of one of them


def _counting(kind: str, brought: list[int]) -> Any:
    from connectors.warehouse import duckdb_database, postgresql_database

    sessions: dict[str, Any] = {
        "duckdb_database": duckdb_database.DuckdbSession,
        "postgresql_database": postgresql_database.PostgresqlSession,
    }
    real = sessions[kind.split(".")[0]].rows

    def rows(self: Session, statement: Compiled, given: Given | None = None) -> Any:
        found = real(self, statement, given)
        if given:
            brought.append(len(found))
        return found

    return rows


def test_a_round_is_one_query_however_many_are_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    for kind in ("duckdb_database.DuckdbSession", "postgresql_database.PostgresqlSession"):
        monkeypatch.setattr(f"connectors.warehouse.{kind}.rows", _counting(kind, asked))
    people = [Identifier("customer_id", f"C-{n}") for n in range(200)]
    found = _source(bench).neighbours(people, max_neighbours=10)
    assert set(found) == {Identifier("customer_id", f"C-{n}") for n in (1, 2, 11)}
    assert len(asked) == 1


def test_a_graph_without_evidence_columns(bench: Bench) -> None:
    columns = {k: v for k, v in edge_columns().items() if k not in ("source", "confidence")}
    bench.execute('CREATE TABLE "e%s" (kind_a VARCHAR(9), value_a VARCHAR(9), kind_b VARCHAR(9), value_b VARCHAR(9))')
    bench.execute("""INSERT INTO "e%s" VALUES ('phone', '1', 'device', 'Q')""")
    found = _source(bench, table='"e%s"', columns=columns).neighbours([Identifier("device", "Q")], max_neighbours=3)
    assert found[Identifier("device", "Q")].edges == (Edge(Identifier("phone", "1")),)


@pytest.mark.parametrize("seed", range(5))
def test_random_graphs_as_a_naive_reader_sees_them(duckdb_bench: DuckdbBench, seed: int) -> None:
    chosen = random.Random(seed)
    values = ["a@x.test", "A@x.test ", "b@x.test", "b", "B", " b", "c", "", None]
    kinds = ["email", "phone", "id"]
    rows = [tuple(chosen.choice((kinds, values)[n % 2]) for n in range(4)) for _ in range(60)]
    with duckdb_bench.connected() as connection:
        connection.execute("DELETE FROM edges")
        connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, NULL, NULL)", rows)

    def normal(kind: str, value: str) -> tuple[str, str]:
        return kind, value.strip().lower() if kind == "email" else value.strip()

    expected: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for one_kind, one, other_kind, other in rows:
        ends = [normal(str(k), v) if v and v.strip() else None for k, v in ((one_kind, one), (other_kind, other))]
        for this, that in (ends, ends[::-1]):
            if this:
                expected[this] |= {that} - {this} if that else set()
    asked = [Identifier(kind, value) for kind in kinds for value in ("a@x.test", "b@x.test", "b", "B", "c", "zzz")]
    found = _source(duckdb_bench).neighbours(asked, max_neighbours=100)
    for identifier in asked:
        known = expected.get(normal(identifier.kind, identifier.value))
        assert (identifier in found) == (known is not None)
        if known is not None:
            assert {normal(e.other.kind, e.other.value) for e in found[identifier].edges} == known
            assert found[identifier].degree == len(known)


def test_the_sample_worlds_ordinary_people_are_walked_whole(tmp_path: Path) -> None:
    world = SampleWorld(7, 300)
    path = tmp_path / "sample.duckdb"
    world.load_warehouse(path)
    source = open_identity_source(
        {"base_url": f"duckdb://{path}", "table": "identity_edges", "columns": edge_columns()}
    )
    for person in world.ordinary[:10]:
        known = {Identifier("email", person.emails[0])}
        frontier = set(known)
        while frontier:
            answers = source.neighbours(frontier, max_neighbours=20)
            reached = {edge.other for answer in answers.values() for edge in answer.edges}
            tidy = {Identifier(i.kind, i.value.strip().lower() if i.kind == "email" else i.value) for i in reached}
            frontier = tidy - known
            known |= frontier
        assert known == set(person.identifiers)
    shared = Identifier("email", PLACEHOLDER_EMAIL)
    assert source.neighbours([shared], max_neighbours=2)[shared].degree > 2


def test_a_wrong_table_is_not_an_empty_graph(bench: Bench) -> None:
    with pytest.raises(AnswerNotUnderstood) as refused:
        _source(bench, table="nowhere").neighbours([ADA_EMAIL], max_neighbours=3)
    assert refused.value.code == "table_or_column_missing"


def test_configuration_errors_name_the_key(bench: Bench) -> None:
    for changes, text in (
        ({"tabel": "x"}, "did you mean 'table'"),
        ({"base_url": 3}, "identity_graph.base_url"),
        ({"base_url": "mysql://x/y"}, "duckdb:///path or postgresql://"),
        ({"columns": {**edge_columns(), "left_kind": ""}}, "identity_graph.columns.left_kind"),
        ({"table": "a.b.c"}, "identity_graph.table"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            _source(bench, **changes)
        assert text in str(refused.value)
