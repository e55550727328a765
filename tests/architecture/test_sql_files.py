"""Shared parts of `.sql` files are included; conditions and tables that they repeat agree with the code."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE
from service.requests.imports.paused import HALTED_IMPORTS, PAUSED_IMPORTS
from service.store.audit_log.fence import FENCE, FENCED_TABLES
from service.store.encryption.pepper_versions import HASH_ARRAYS, HASHES
from service.store.encryption.vacuum import KEY_TABLES, SEALED_TABLES
from service.store.execute import compile_once
from service.store.sql_files import load_sql
from service.store.tables.imports import ImportRow
from service.store.tables.work import StepRow
from tests.architecture.house import ROOT

EXECUTION = "service.execution"
_LINES = 6


def _words(statement: str) -> str:
    return " ".join(statement.split())


def _files() -> list[Path]:
    return sorted((ROOT / "service").rglob("sql/*.sql"))


def _conditions(table: type[StepRow] | type[ImportRow]) -> dict[str, str]:
    return {str(index.name): str(index.dialect_options["postgresql"]["where"]) for index in table.__table__.indexes}


def test_a_part_takes_the_place_of_its_line() -> None:
    assert "-- include" not in load_sql(EXECUTION, "heads")
    part = _words(load_sql(EXECUTION, "fresh_group"))
    assert part in _words(load_sql(EXECUTION, "heads"))
    # Of another package.
    assert f"NOT IN ( {_words(HALTED_IMPORTS)} )" in _words(load_sql(EXECUTION, "lock_due_by_id"))


def test_a_part_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "with_parts"
    (package / "sql").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sql" / "whole.sql").write_text("SELECT 1\n  -- include part\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_sql("with_parts", "whole")
    (package / "sql" / "part.sql").write_text("-- why\nWHERE true\n", encoding="utf-8")
    assert load_sql("with_parts", "whole") == "SELECT 1\n  WHERE true"


def test_no_statement_of_the_lease_repeats_another() -> None:
    """Six lines in a row that two files have belong into a part that both include."""
    seen: Counter[tuple[str, ...]] = Counter()
    for path in _files():
        if path.parent.parent.name == "execution":
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if "--" not in line]
            seen.update({tuple(lines[n : n + _LINES]) for n in range(len(lines) - _LINES + 1)})
    assert [run for run, files in seen.items() if files > 1] == []


def test_the_rule_about_paused_imports_stands_in_one_file() -> None:
    named = {path.relative_to(ROOT).as_posix() for path in _files() if "'cancelling'" in path.read_text("utf-8")}
    assert named == {"service/requests/imports/sql/halted_imports.sql"}
    expression = re.sub(r"\bimports\.", "", _words(compile_once(PAUSED_IMPORTS).words))
    assert expression == _words(HALTED_IMPORTS)
    assert _conditions(ImportRow)["ix_imports_halted"] in _words(HALTED_IMPORTS)


def test_the_queues_in_the_statements_are_the_domains() -> None:
    statement = load_sql(EXECUTION, "due_of_all_queues")
    named = set(re.findall(r"'([0-9a-f-]{36})'", statement))
    assert named == {str(DEFAULT_FAIR_QUEUE), str(URGENT_FAIR_QUEUE)}


def test_the_scans_use_the_words_of_their_partial_indexes() -> None:
    parts = {
        "ix_steps_fresh": ("fresh_group", "due_in_group"),
        "ix_steps_again": ("again_group", "due_in_open_batch"),
    }
    for index, names in parts.items():
        for name in names:
            words = _words(load_sql(EXECUTION, name)).replace("s.", "")
            assert _conditions(StepRow)[index] in words, (index, name)


def test_every_fenced_table_has_its_trigger() -> None:
    assert re.findall(r"CREATE TRIGGER only_grows .* ON (\w+)", FENCE) == list(FENCED_TABLES)


def test_every_table_with_keyed_hashes_is_locked_while_they_change() -> None:
    statement = load_sql("service.store.encryption", "lock_hashed_tables")
    locked = re.findall(r"\w+", statement.removeprefix("LOCK TABLE").partition("IN ACCESS EXCLUSIVE MODE")[0])
    assert set(locked) == {table for table, _ in (*HASHES, *HASH_ARRAYS)}


@pytest.mark.parametrize("table", [*KEY_TABLES, *SEALED_TABLES])
def test_a_file_vacuums_the_table_of_its_name(table: str) -> None:
    assert load_sql("service.store.encryption", f"vacuum_{table}") == f"VACUUM (TRUNCATE FALSE) {table}"
