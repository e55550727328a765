"""SQL is an expression or a commented `.sql` file: text that isn't, and `Any`, have a count that may only fall."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.house import Source, sources
from tests.architecture.sql import Counts, built_sql, counts, findings, line_of

# Per room: places that put SQL text together (f-string, +, %, format, replace, join); `noqa: S608`; SQL statements in
# strings; `Row[Any]` outside a store; `Any` in service/. A room that isn't listed has zeros. Never raise a number;
# lower it when it falls: `python -m tests.architecture.sql` prints the findings and this table.
ALLOWED = {
    "service/cli": (0, 0, 0, 0, 4),
    "service/store": (0, 0, 0, 0, 1),
}


def _problems(now: dict[str, Counts], allowed: dict[str, tuple[int, int, int, int, int]]) -> list[str]:
    """One paragraph for each room whose counts aren't its allowance."""
    problems = []
    for room in sorted({*now, *allowed}):
        found, most = now.get(room, Counts()), Counts(*allowed.get(room, Counts()))
        more = [kind for kind in Counts._fields if getattr(found, kind) > getattr(most, kind)]
        if more:
            problems.append(f"{room} has more {', '.join(more)} than its allowance {tuple(most)}: {tuple(found)}")
        elif found != most:
            fix = f"write\n{line_of(room, found)}" if found != Counts() else "remove its line"
            problems.append(f"{room} has fewer findings than its allowance {tuple(most)}: {fix}")
    return problems


def test_no_room_has_more_or_fewer_findings_than_its_number() -> None:
    found = list(findings(sources()))
    problems = _problems(counts(found), ALLOWED)
    more = {problem.partition(" has more ")[0] for problem in problems if " has more " in problem}
    shown = [f"{each.path}:{each.line}: {each.kind}: {each.text[:120]}" for each in found if each.room in more]
    assert problems == [], "\n".join([*problems, *shown])


def test_more_and_fewer_findings_are_told_with_the_line_to_write() -> None:
    allowed = {"a": (1, 1, 1, 1, 1), "b": (0, 0, 2, 0, 0), "c": (0, 0, 0, 0, 3)}
    now = {"a": Counts(2, 1, 0, 1, 1), "b": Counts(literals=1)}
    assert _problems(now, allowed) == [
        "a has more built than its allowance (1, 1, 1, 1, 1): (2, 1, 0, 1, 1)",
        'b has fewer findings than its allowance (0, 0, 2, 0, 0): write\n    "b": (0, 0, 1, 0, 0),',
        "c has fewer findings than its allowance (0, 0, 0, 0, 3): remove its line",
    ]
    assert _problems({"new": Counts(anys=1)}, {}) == [
        "new has more anys than its allowance (0, 0, 0, 0, 0): (0, 0, 0, 0, 1)"
    ]


@pytest.mark.parametrize(
    "code",
    [
        'run(f"SELECT {columns} FROM steps")',
        'run("SELECT id FROM steps" + where)',
        'run(head + " WHERE id = :id")',
        'run("SELECT id FROM %s" % table)',
        'run("SELECT id FROM {}".format(table))',
        'run("SELECT id FROM steps".replace("steps", table))',
        'where = " AND ".join(conditions)',
        'where = f"AND s.system = {system}"',
        '_ALL = load_sql(__package__, "all")\nrun(_ALL.replace("x", "y"))',
        '_A = "SELECT id FROM steps"\n_B = _A\nrun(f"{_B}{tail}")',
        'query = "SELECT id FROM steps"\nquery += condition',
        'with_ = f"due AS MATERIALIZED (SELECT id FROM {table})"',
    ],
)
def test_built_sql_is_found(code: str) -> None:
    assert len(list(built_sql(Source("service/a.py", code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        'run("SELECT id FROM steps WHERE id = :id")',
        'run("SELECT id" " FROM steps")',
        'raise Refused(f"select one of {names}")',
        "name = a + b",
        'path = "{}/x".format(name)',
        "_ALL = select(StepRow.id).where(StepRow.state == state)",
        # psycopg's own composition quotes each part; its text counts as a statement in a string.
        'order = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))',
    ],
)
def test_other_text_is_not(code: str) -> None:
    assert list(built_sql(Source("service/a.py", code))) == []


def test_every_kind_is_counted_where_it_is_forbidden() -> None:
    code = (
        'x: Row[Any] = run(f"SELECT {a} FROM b")  # noqa: S608 - quoted\n'
        'load_sql("package", "name")\n'
        "def f(y: dict[str, Any]) -> None: ...\n"
    )
    ast.parse(code)
    assert counts(findings([Source("service/requests/a.py", code)])) == {"service/requests": Counts(1, 1, 1, 1, 2)}
    assert counts(findings([Source("service/requests/store.py", code)])) == {"service/requests": Counts(1, 1, 1, 0, 2)}
    assert counts(findings([Source("workers/tasks/a.py", code)])) == {"workers/tasks": Counts(1, 1, 1, 1, 0)}
    assert counts(findings([Source("service/store/migrations/versions/a.py", code)])) == {}


def test_a_statement_without_a_table_is_counted_once() -> None:
    code = 'run(text("SELECT pg_postmaster_start_time()"))\nrun(text("SELECT id FROM steps WHERE id = :id"))\n'
    assert counts(findings([Source("service/requests/a.py", code)])) == {"service/requests": Counts(literals=2)}
    assert counts(findings([Source("service/requests/a.py", 'text("clock_timestamp()")')])) == {}


def test_an_exception_for_a_whole_file_is_counted() -> None:
    code = "# ruff: noqa: S608 - quoted\n"
    assert counts(findings([Source("connectors/warehouse/a.py", code)])) == {"connectors/warehouse": Counts(s608=1)}
