"""Locks, credentials, wrong places, and what an error may say."""

import json
import subprocess
import sys
import traceback

import psycopg
import pytest

from connectors.base import operations
from connectors.base.config import ConfigurationError
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.values import Answer, AnswerKind
from connectors.warehouse.connector import WarehouseConnector

from .conftest import ADA, BOB, GRAPH, TABLES, Bench, DuckdbBench, FakeLease, PostgresqlBench, batch

HOLD = """
import duckdb, sys
c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'ro')
print('held', flush=True)
input()
"""


def _code(error: object) -> str:
    assert isinstance(error, ConnectorError)
    return error.code


class TestDuckdbLock:
    """Another process has the file open."""

    @staticmethod
    def _holder(bench: DuckdbBench, mode: str) -> subprocess.Popen[str]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(bench.path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    def test_a_writer_elsewhere_means_later(self, duckdb_bench: DuckdbBench) -> None:
        connector = duckdb_bench.connector(*TABLES, graph=GRAPH, lock_wait_seconds=0.2)
        with self._holder(duckdb_bench, "rw") as holder:
            for answers in (
                operations.locate(connector, batch(ADA)),
                operations.erase(connector, batch(ADA), FakeLease()),
                operations.confirm_absence(connector, batch(ADA)),
            ):
                assert isinstance(answers["ada"], TemporarilyUnavailable)
                assert _code(answers["ada"]) == "warehouse_locked"
            holder.communicate("\n")
        answer = operations.erase(connector, batch(ADA), FakeLease())["ada"]
        assert isinstance(answer, Answer)
        assert answer.kind is AnswerKind.ERASED

    def test_a_reader_elsewhere_stops_only_writing(self, duckdb_bench: DuckdbBench) -> None:
        connector = duckdb_bench.connector(*TABLES, graph=GRAPH, lock_wait_seconds=0.2)
        with self._holder(duckdb_bench, "ro") as holder:
            assert not isinstance(operations.locate(connector, batch(ADA))["ada"], ConnectorError)
            assert _code(operations.erase(connector, batch(ADA), FakeLease())["ada"]) == "warehouse_locked"
            holder.communicate("\n")

    def test_a_lock_that_is_given_up_in_time_is_waited_for(self, duckdb_bench: DuckdbBench) -> None:
        connector = duckdb_bench.connector(*TABLES, graph=GRAPH, lock_wait_seconds=60)
        releasing = HOLD.replace("input()", "import time; time.sleep(0.5)")
        command = [sys.executable, "-c", releasing, str(duckdb_bench.path), "rw"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            assert isinstance(operations.erase(connector, batch(ADA), FakeLease())["ada"], Answer)

    def test_nothing_is_held_between_two_calls(self, duckdb_bench: DuckdbBench) -> None:
        connector = duckdb_bench.shop()
        operations.locate(connector, batch(ADA))
        with self._holder(duckdb_bench, "rw") as holder:
            holder.communicate("\n")


class TestDuckdbFile:
    """The path leads to something else."""

    def test_a_missing_file_is_not_created(self, duckdb_bench: DuckdbBench) -> None:
        duckdb_bench.path.unlink()
        connector = duckdb_bench.shop()
        assert _code(operations.locate(connector, batch(ADA))["ada"]) == "warehouse_file_missing"
        assert _code(operations.erase(connector, batch(ADA), FakeLease())["ada"]) == "warehouse_file_missing"
        assert not duckdb_bench.path.exists()

    def test_a_file_of_another_kind(self, duckdb_bench: DuckdbBench) -> None:
        duckdb_bench.path.write_text("not a database" * 1000)
        answer = operations.confirm_absence(duckdb_bench.shop(), batch(ADA))["ada"]
        assert isinstance(answer, AnswerNotUnderstood)
        assert answer.code == "not_a_duckdb_file"


class TestPostgresqlServer:
    """The server refuses, is elsewhere, or changes while we work."""

    @staticmethod
    def _entry(bench: PostgresqlBench, **changes: object) -> WarehouseConnector:
        entry: dict[str, object] = {"name": "shop", "connector": "warehouse", "base_url": bench.base_url}
        entry |= {"credentials": bench.credentials}
        entry |= {"policy": {"tables": list(TABLES)}, **changes}
        return WarehouseConnector(WarehouseConnector.parse_system(entry))

    def test_a_wrong_password(self, postgresql_bench: PostgresqlBench) -> None:
        connector = self._entry(
            postgresql_bench, credentials={**postgresql_bench.credentials, "password": "wrong-secret"}
        )
        answer = operations.locate(connector, batch(ADA))["ada"]
        assert isinstance(answer, CredentialsRefused)
        assert answer.code == "login_refused"

    def test_no_such_database(self, postgresql_bench: PostgresqlBench) -> None:
        host = postgresql_bench.base_url.partition("?")[2]
        connector = self._entry(postgresql_bench, base_url=f"postgresql:///nowhere?{host}")
        assert isinstance(operations.locate(connector, batch(ADA))["ada"], AnswerNotUnderstood)

    def test_no_server(self, postgresql_bench: PostgresqlBench) -> None:
        connector = self._entry(postgresql_bench, base_url="postgresql://127.0.0.1:9/nowhere")
        assert isinstance(operations.locate(connector, batch(ADA))["ada"], TemporarilyUnavailable)

    def test_a_row_that_changes_between_finding_and_taking_is_not_taken(
        self, postgresql_bench: PostgresqlBench
    ) -> None:
        class Meddling(FakeLease):
            def may_proceed(self, ref: str) -> bool:
                postgresql_bench.execute("UPDATE customers SET email = 'new@example.test' WHERE id = 'C-1'")
                return super().may_proceed(ref)

        answer = operations.erase(postgresql_bench.shop(), batch(ADA), Meddling())["ada"]
        assert isinstance(answer, TemporarilyUnavailable)
        assert answer.code == "changed_meanwhile"
        assert "C-1" in postgresql_bench.ids("customers")
        assert postgresql_bench.ids("orders") == [1, 2, 3, 11]

    def test_a_new_child_in_between_delays_only_its_own_person(self, postgresql_bench: PostgresqlBench) -> None:
        class Meddling(FakeLease):
            n = 100

            def may_proceed(self, ref: str) -> bool:
                if ref == "ada":
                    Meddling.n += 1
                    postgresql_bench.execute(f"INSERT INTO orders VALUES ({Meddling.n}, 'C-1', NULL)")
                return super().may_proceed(ref)

        answers = operations.erase(postgresql_bench.shop(), batch(ADA, BOB), Meddling())
        assert isinstance(answers["ada"], TemporarilyUnavailable)
        assert answers["ada"].code == "row_referenced"
        assert isinstance(answers["bob"], Answer)
        assert answers["bob"].kind is AnswerKind.ERASED
        assert "C-1" in postgresql_bench.ids("customers")

    def test_a_trigger_that_keeps_rows_is_not_believed(self, postgresql_bench: PostgresqlBench) -> None:
        with postgresql_bench.connected() as connection:
            connection.execute(
                "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF OLD.anonymous_id = 'anon-1' THEN RETURN NULL; END IF; RETURN OLD; END $$"
            )
            connection.execute("CREATE TRIGGER keep BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION keep()")
        answers = operations.erase(postgresql_bench.shop(), batch(ADA, BOB), FakeLease())
        assert isinstance(answers["ada"], AnswerNotUnderstood)
        assert answers["ada"].code == "effect_count_differs"
        assert "C-1" in postgresql_bench.ids("customers")
        assert isinstance(answers["bob"], Answer)
        assert answers["bob"].kind is AnswerKind.ERASED

    def test_a_held_lock_means_later(self, postgresql_bench: PostgresqlBench) -> None:
        connector = postgresql_bench.connector(*TABLES, lock_wait_seconds=0.1)
        with postgresql_bench.connected() as other, other.transaction():
            other.execute("LOCK TABLE customers")
            assert _code(operations.locate(connector, batch(ADA))["ada"]) == "warehouse_locked"

    def test_partitions_are_told_apart(self, postgresql_bench: PostgresqlBench) -> None:
        postgresql_bench.execute(
            "CREATE TABLE parts (email VARCHAR(90), n INTEGER) PARTITION BY LIST (n);\n"
            "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);\n"
            "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);\n"
            "INSERT INTO parts VALUES ('ada@example.test', 1), ('bob@example.test', 2)"
        )
        connector = postgresql_bench.connector({"name": "parts", "identifiers": {"email": "email"}})
        assert operations.erase(connector, batch(ADA), FakeLease())["ada"] == Answer.erased({"parts": 1})
        assert postgresql_bench.rows("parts") == [("bob@example.test", 2)]


class TestWhatCannotWork:
    """A policy that the warehouse contradicts is refused before anything is touched."""

    @pytest.mark.parametrize(("left_out", "code"), [(0, "unlisted_child:order_items"), (1, "unlisted_child:orders")])
    def test_a_table_that_hangs_on_deleted_rows_must_be_listed(self, bench: Bench, left_out: int, code: str) -> None:
        before = bench.snapshot()
        tables = [t for n, t in enumerate(TABLES) if n > left_out]
        answer = operations.erase(bench.connector(*tables), batch(ADA), FakeLease())["ada"]
        assert isinstance(answer, RequestRefused)
        assert answer.code in (code, "unlisted_child:orders")
        assert bench.snapshot() == before

    @pytest.mark.parametrize(
        ("tables", "code"),
        [
            ([{"name": "events"}, *TABLES[:3]], "no_way_to_find_rows:events"),
            ([{**TABLES[3], "key": []}], "no_key:events"),
            ([{**TABLES[3], "identifiers": {"email": "e_mail"}}], "column_missing:events:e_mail"),
            (
                [*TABLES[:2], {**TABLES[2], "action": "null", "columns": ["id", "email", "phone"]}],
                "column_not_nullable:customers:id",
            ),
            ([TABLES[0], {**TABLES[1], "action": "retain", "reason": "x"}, TABLES[2]], "retained_child:orders"),
            (
                [TABLES[0], {**TABLES[1], "action": "null", "identifiers": {}, "columns": "contact_email"}, TABLES[2]],
                "null_keeps_reference:orders",
            ),
            (
                [{**TABLES[0], "parents": [{"column": "id", "table": "orders", "references": "nr"}]}, *TABLES[1:]],
                "column_missing:orders",
            ),
        ],
    )
    def test_is_named(self, bench: Bench, tables: list[dict[str, object]], code: str) -> None:
        answer = operations.locate(bench.connector(*tables), batch(ADA))["ada"]
        assert _code(answer) == code

    def test_a_cycle(self, bench: Bench) -> None:
        bench.execute(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES people (id), email VARCHAR(90))"
        )
        connector = bench.connector({"name": "people", "identifiers": {"email": "email"}})
        assert _code(operations.locate(connector, batch(ADA))["ada"]) == "foreign_key_cycle:people"

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"base_url": "postgresql://me:hunter2@db.example/x"}, "belong in systems[shop].credentials"),
            ({"base_url": "duckdb://"}, "absolute path"),
            ({"base_url": "duckdb:///x", "credentials": {"user": "me"}}, "has no users"),
            (
                {"base_url": "postgresql://db.example/x?options=-cfsync", "credentials": {"user": "me"}},
                "unknown key 'options'",
            ),
            ({"base_url": "postgresql://db.example/x"}, "needs a host, a database and a user"),
            ({"policy": {}}, "at least one table"),
            ({"policy": {"tables": [TABLES[0]]}}, "which column identifies"),
            ({"policy": {"tables": [TABLES[3], TABLES[3]]}}, "named twice"),
            ({"policy": {"tables": [{**TABLES[3], "action": "retain"}]}}, "`reason` goes with"),
            ({"policy": {"tables": [{**TABLES[3], "action": "null"}]}}, "`columns` goes with"),
            ({"policy": {"tables": [{**TABLES[3], "action": "null", "columns": "email"}]}}, "empties every column"),
            ({"policy": {"tables": [{**TABLES[3], "identifiers": {"E-Mail": "email"}}]}}, "an identifier kind is"),
            (
                {"policy": {"tables": [{**TABLES[3], "parents": [{"column": "a", "table": "b", "references": "c"}]}]}},
                "not among",
            ),
            ({"policy": {"tables": [{"name": 'a."b'}]}}, "tables.0.name"),
        ],
    )
    def test_a_configuration_that_contradicts_itself(self, changes: dict[str, object], text: str) -> None:
        entry = {"name": "shop", "connector": "warehouse", "base_url": "duckdb:///x", "policy": {"tables": [TABLES[3]]}}
        with pytest.raises(ConfigurationError) as refused:
            WarehouseConnector.parse_system({**entry, **changes})
        assert text in str(refused.value)
        assert "hunter2" not in str(refused.value)


def test_no_error_says_a_value(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Databases quote the row in their messages; ours name a code, and a traceback prints nothing more."""
    bench.execute("CREATE TABLE picky (email VARCHAR(90), id INTEGER, CHECK (email IS NOT NULL OR id < 0))")
    bench.execute("INSERT INTO picky VALUES ('ada@example.test', 1)")
    connector = bench.connector(
        {"name": "picky", "identifiers": {"email": "email"}, "action": "null", "columns": "email"}
    )
    answer = operations.erase(connector, batch(ADA), FakeLease())["ada"]
    assert isinstance(answer, RequestRefused)
    assert answer.code == "constraint_refused"
    said = "".join(traceback.format_exception(answer)) + repr(answer) + caplog.text
    assert "ada@" not in said
    assert "picky" not in said


def test_reprs_say_nothing(postgresql_bench: PostgresqlBench) -> None:
    connector = postgresql_bench.shop()
    password = postgresql_bench.credentials["password"]
    for thing in (connector.system, connector._database, vars(connector)):
        assert password not in repr(thing)


def test_a_lost_connection_is_temporary(postgresql_bench: PostgresqlBench) -> None:
    class Cutting(FakeLease):
        def may_proceed(self, ref: str) -> bool:
            with postgresql_bench.connected() as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
                )
            return super().may_proceed(ref)

    before = postgresql_bench.snapshot()
    answer = operations.erase(postgresql_bench.shop(), batch(ADA), Cutting())["ada"]
    assert isinstance(answer, TemporarilyUnavailable)
    assert postgresql_bench.snapshot() == before


def test_psycopg_still_gives_no_code_for_a_refused_login(postgresql_bench: PostgresqlBench) -> None:
    """Why the connector reads the server's text: when this fails, it can stop doing so."""
    host = postgresql_bench.base_url.partition("host=")[2].replace("%2F", "/")
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(host=host, user="nobody_at_all", password="x", dbname="nowhere")
    assert refused.value.sqlstate is None


DYING = """
import json, os, sys
from connectors.base.values import Batch, Identifier, Subject
from connectors.warehouse.connector import WarehouseConnector

class Dying:
    resume_token, asked = None, 0
    def save(self, token): pass
    def may_proceed(self, ref):
        Dying.asked += 1
        return True if Dying.asked < die_at else os._exit(9)

entry, identifiers, die_at = json.load(sys.stdin)
subject = Subject("ada", tuple(Identifier(*i) for i in identifiers))
WarehouseConnector(WarehouseConnector.parse_system(entry)).erase(Batch("b", (subject,)), Dying())
"""


def test_a_killed_process_leaves_what_the_next_one_needs(duckdb_bench: DuckdbBench) -> None:
    """A real process, ended without warning at its n-th question, and after it others that finish."""
    entry: dict[str, object] = {"name": "shop", "connector": "warehouse", "base_url": duckdb_bench.base_url}
    entry |= {"policy": {"tables": list(TABLES), "identity_graph": GRAPH}}
    before = len(duckdb_bench.rows("order_items"))
    for die_at in (1, 2):
        given = json.dumps([entry, [(i.kind, i.value) for i in ADA.identifiers], die_at])
        ended = subprocess.run([sys.executable, "-c", DYING], input=given, text=True, check=False)
        assert ended.returncode == 9
        assert "C-1" in duckdb_bench.ids("customers")
        assert len(duckdb_bench.rows("order_items")) == (before if die_at == 1 else before - 3)
    answer = operations.erase(duckdb_bench.shop(), batch(ADA), FakeLease())["ada"]
    assert isinstance(answer, Answer)
    assert operations.confirm_absence(duckdb_bench.shop(), batch(ADA))["ada"] == Answer.already_absent()
    assert duckdb_bench.ids("customers") == ["C-11", "C-2", "C-3"]
    assert duckdb_bench.ids("order_items") == [2, 5]
