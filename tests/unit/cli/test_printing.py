"""The output of commands: for people on a terminal, for programs into a pipe."""

from __future__ import annotations

import ast
import os
import re
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from service.cli import printing
from service.cli.printing import say, show_table

ID = "2f1c1f3e-7a5b-4c1d-9e8f-0123456789ab"
OTHER = UUID("7d3e2c5b-7a5b-4c1d-9e8f-0123456789ab")
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COLUMNS = ("id", "state", "respond by", "explained")
LONG = "the credential is wrong, expired, lacks a right, or sees nothing where something must be"
ROWS = [(ID, "in_progress (needs_review)", "2026-12-20T23:59:59.123456Z", LONG), (OTHER, "open", None, "short")]
Terminal = Callable[[int], "Screen"]


class Screen:
    """The text on a terminal."""

    def __init__(self, master: int, columns: int) -> None:
        self._master, self.columns = master, columns

    def lines(self) -> list[str]:
        """Everything that was printed by now, line by line."""
        shown = b""
        while select.select([self._master], [], [], 0.05)[0]:
            shown += os.read(self._master, 65536)
        return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Standard output becomes a terminal of this many columns."""
    opened: list[int] = []

    def make(columns: int) -> Screen:
        master, slave = os.openpty()
        opened.append(master)
        monkeypatch.setattr("sys.stdout", os.fdopen(slave, "w", buffering=1))
        monkeypatch.setenv("COLUMNS", str(columns))
        return Screen(master, columns)

    yield make
    for each in opened:
        os.close(each)


def test_a_pipe_gets_one_line_per_row_and_no_drawing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    show_table("requests", COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t") for line in lines] == [
        list(COLUMNS),
        [ID, "in_progress (needs_review)", "2026-12-20T23:59:59Z", LONG],
        [str(OTHER), "open", "", "short"],
    ]


def test_a_pipe_gets_its_header_without_rows_too(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("requests", COLUMNS, [])
    assert capsys.readouterr().out == "id\tstate\trespond by\texplained\n"


@pytest.mark.parametrize("columns", [200, 120, 110, 80, 50])
def test_no_word_is_cut_or_wrapped_on_a_terminal(terminal: Terminal, columns: int) -> None:
    screen = terminal(columns)
    show_table("requests", COLUMNS, [*ROWS, (HASH[:36], "open", None, HASH[:40])])
    lines = screen.lines()
    assert "…" not in "".join(lines)
    for word in (ID, str(OTHER), HASH[:40], "2026-12-20T23:59:59Z", "(needs_review)"):
        assert sum(word in line for line in lines) == 1, word
    for word in LONG.split():
        assert any(word in line for line in lines), word


def test_a_table_fits_the_terminal_as_long_as_its_words_do(terminal: Terminal) -> None:
    screen = terminal(110)
    show_table("requests", COLUMNS, ROWS)
    lines = screen.lines()
    assert any("┃" in line for line in lines)
    assert max(map(len, lines)) <= 110


def test_a_terminal_that_is_too_narrow_gets_a_field_a_line(terminal: Terminal) -> None:
    screen = terminal(60)
    show_table("requests", COLUMNS, ROWS)
    lines = screen.lines()
    assert not any("┃" in line for line in lines)
    assert f"  id          {ID}" in lines
    # Empty fields are left out.
    assert sum("respond by" in line for line in lines) == 1


def test_wide_never_wraps_a_cell(terminal: Terminal) -> None:
    screen = terminal(60)
    printing._choose_width(True)
    try:
        show_table("requests", COLUMNS, ROWS)
    finally:
        printing._choose_width(False)
    (line,) = [line for line in screen.lines() if ID in line]
    assert LONG in line


def test_an_empty_table_says_so_on_a_terminal(terminal: Terminal) -> None:
    screen = terminal(80)
    show_table("requests", COLUMNS, [])
    assert screen.lines() == ["requests: none"]


def test_lines_are_never_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    say(f"plan 1 {HASH} [[systems]]")
    assert capsys.readouterr().out == f"plan 1 {HASH} [[systems]]\n"


def test_a_value_can_not_move_the_cursor_or_end_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("identifiers", ("value",), [("a\x1b[2Jb\tc\nd\u202ee",)])
    say("a\x1b]0;title\x07")
    out = capsys.readouterr().out
    assert out == "value\na\\x1b[2Jb\\tc d\\u202ee\na\\x1b]0;title\\x07\n"


def _writes(tree: ast.AST) -> set[str]:
    """How a module prints by itself: `print(...)`, `sys.stdout.write(...)`, a console of its own."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "typer.echo", "Console") or called.endswith(("stdout.write", "stderr.write")):
                found.add(called)
    return found


def test_no_command_prints_by_itself() -> None:
    """The demo has pages of its own, and the verifier for auditors is a single file."""
    room = Path(printing.__file__).parent
    modules = set(room.glob("*.py")) - {room / "printing.py", room / "verify_audit.py"}
    assert len(modules) > 10
    assert _writes(ast.parse((room / "printing.py").read_text(encoding="utf-8"))) == {"Console"}
    assert _writes(ast.parse("print(1); sys.stderr.write('')")) == {"print", "sys.stderr.write"}
    for module in modules:
        assert _writes(ast.parse(module.read_text(encoding="utf-8"))) == set(), module.name
