"""A search proves absence only where the connector sees every row."""

from dataclasses import replace

import pytest

from connectors.base import operations
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
)
from connectors.base.values import Answer, AnswerKind, Visibility

from .conftest import ADA, GRAPH, TABLES, Bench, FakeLease, PostgresqlBench, batch


class TestSight:
    """Absence counts only from a credential that sees."""

    def test_a_row_is_the_control_record(self, bench: Bench) -> None:
        assert bench.shop().check_credentials() == Visibility("control_record", "rows in 5 of the configured tables")

    def test_a_warehouse_without_any_row_proves_nothing(self, bench: Bench) -> None:
        bench.execute(
            "DELETE FROM order_items;\nDELETE FROM orders;\nDELETE FROM customers;\nDELETE FROM events;\n"
            "DELETE FROM edges"
        )
        answer = operations.confirm_absence(bench.shop(), batch(ADA))["ada"]
        assert isinstance(answer, CredentialsRefused)
        assert answer.code == "no_visibility"
        allowed = bench.connector(*TABLES, graph=GRAPH, may_be_empty=True)
        assert operations.confirm_absence(allowed, batch(ADA))["ada"] == Answer.already_absent()

    def test_the_last_persons_absence_is_seen(self, bench: Bench) -> None:
        """Their rows were the only ones, and were taken here: the empty tables are the right ones."""
        bench.execute(
            "DELETE FROM order_items;\nDELETE FROM orders;\nDELETE FROM events;\nDELETE FROM edges;\n"
            "DELETE FROM customers WHERE id <> 'C-1'"
        )
        connector = bench.shop()
        assert operations.erase(connector, batch(ADA), FakeLease())["ada"].kind is AnswerKind.ERASED  # type: ignore[union-attr]
        assert bench.rows("customers") == []
        # In the same pass, and in another process that knows only what was recorded.
        assert operations.confirm_absence(connector, batch(ADA))["ada"] == Answer.already_absent()
        counted = replace(ADA, already_reported={"customers": 1})
        assert operations.confirm_absence(bench.shop(), batch(counted))["ada"] == Answer.already_absent()
        # Nobody's rows were taken: these may be the tables of an empty copy.
        for other in (ADA, replace(ADA, already_reported={"customers": 0})):
            blind = operations.confirm_absence(bench.shop(), batch(other))["ada"]
            assert isinstance(blind, CredentialsRefused)
            assert blind.code == "no_visibility"

    def test_one_empty_table_is_no_reason_for_doubt(self, bench: Bench) -> None:
        bench.execute("DELETE FROM events")
        assert bench.shop().check_credentials().proof == "control_record"

    @pytest.mark.parametrize("table", ["customers", "edges"])
    def test_a_missing_table_is_not_an_empty_one(self, bench: Bench, table: str) -> None:
        bench.execute(
            f"ALTER TABLE {table} RENAME TO elsewhere"
            if table == "edges"
            else "DROP TABLE order_items;\nDROP TABLE orders;\nDROP TABLE customers"
        )
        answer = operations.confirm_absence(bench.shop(), batch(ADA))["ada"]
        assert isinstance(answer, AnswerNotUnderstood)
        assert answer.code.startswith("table_missing:")

    def test_a_view_has_no_rows_of_its_own(self, bench: Bench) -> None:
        bench.execute("CREATE VIEW seen AS SELECT * FROM events")
        connector = bench.connector({"name": "seen", "identifiers": {"email": "email"}})
        with_view = operations.locate(connector, batch(ADA))["ada"]
        assert isinstance(with_view, ConnectorError)
        assert with_view.code == "not_a_table:seen"

    def test_row_security_blinds(self, postgresql_bench: PostgresqlBench) -> None:
        postgresql_bench.execute(
            "ALTER TABLE events ENABLE ROW LEVEL SECURITY;\nALTER TABLE events FORCE ROW LEVEL SECURITY"
        )
        answer = operations.confirm_absence(postgresql_bench.shop(), batch(ADA))["ada"]
        assert isinstance(answer, CredentialsRefused)
        assert answer.code == "row_security:events"

    @pytest.mark.parametrize(("right", "code"), [("SELECT", "select"), ("DELETE", "delete")])
    def test_a_missing_right(self, postgresql_bench: PostgresqlBench, right: str, code: str) -> None:
        postgresql_bench.execute(f"REVOKE {right} ON events FROM CURRENT_USER")
        answer = operations.locate(postgresql_bench.shop(), batch(ADA))["ada"]
        assert isinstance(answer, CredentialsRefused)
        assert answer.code == f"missing_right:events:{code}"

    def test_the_right_to_empty_is_asked_for_by_column(self, postgresql_bench: PostgresqlBench) -> None:
        emptied = {**TABLES[3], "action": "null", "columns": ["email", "anonymous_id"]}
        postgresql_bench.execute(
            "REVOKE ALL ON events FROM CURRENT_USER;\n"
            "GRANT SELECT, UPDATE (email, anonymous_id) ON events TO CURRENT_USER"
        )
        assert postgresql_bench.connector(emptied).check_credentials()
        postgresql_bench.execute("REVOKE UPDATE (email) ON events FROM CURRENT_USER")
        with pytest.raises(CredentialsRefused):
            postgresql_bench.connector(emptied).check_credentials()
