"""Print the results of commands; decides the look of all tables, JSON, lines and messages.

Results go to standard output, messages beside them to standard error. On a terminal a table fits the width: cells wrap
between words, and a word (an id, a hash, an instant) is never cut or wrapped; a table that still doesn't fit is printed
as one block per row, one field a line. Into a pipe or a file a table is one header line and one line per row, its cells
separated by tabs, whatever the width: programs read it, or `--json`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[object]
_WIDE: ContextVar[bool] = ContextVar("wide", default=False)
_FRACTION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(?=Z|[+-]\d\d:\d\d|$)")
_BORDERS_PER_COLUMN = 3


def _choose_width(wide: bool) -> bool:
    _WIDE.set(wide)
    return wide


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide", callback=_choose_width, help="On a terminal: print tables as wide as their content, without wrapping."
    ),
]


def show_json(document: object) -> None:
    """Print a document as indented JSON, for programs."""
    _write(sys.stdout, json.dumps(document, ensure_ascii=False, indent=2))


def show_json_line(document: object) -> None:
    """Print a document as one line of JSON, at once: for results that come one by one."""
    _write(sys.stdout, json.dumps(document, ensure_ascii=False))
    sys.stdout.flush()


def show_table(title: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Print rows under their columns; None is an empty cell. `title` is shown on a terminal only."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *cells]:
            _write(sys.stdout, "\t".join(line))
        return
    if not cells:
        say(f"{title}: none")
        return
    widths = _widths(columns, cells, None if _WIDE.get() else shutil.get_terminal_size().columns)
    if widths is None:
        _show_blocks(title, columns, cells)
    else:
        _show_grid(title, columns, cells, widths)


def show_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line; fields that are None are left out."""
    for name, value in fields.items():
        if value is not None:
            say(f"{name}: {_cell(value)}")


def say(text: str) -> None:
    """Print a line of the result. It isn't wrapped: the terminal does that where it is too long."""
    _write(sys.stdout, _printable(_FRACTION.sub(r"\1", text)))


def note(text: str) -> None:
    """Print a message beside the result on standard error: an error, a hint, how to get the next page."""
    _write(sys.stderr, _printable(text))


def can_ask() -> bool:
    """Return whether a person at a terminal sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask on standard error and return whether the answer is yes; Enter alone is no."""
    return typer.confirm(_printable(question), err=True)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], available: int | None) -> list[int] | None:
    """The width of each column, or None if the longest words don't fit beside each other into `available`."""
    table = [list(columns), *cells]
    natural = [max(cell_len(line[place]) for line in table) for place in range(len(columns))]
    if available is None:
        return natural
    least = [
        max(cell_len(word) for line in table for word in [*line[place].split(), ""]) for place in range(len(columns))
    ]
    spare = available - 1 - _BORDERS_PER_COLUMN * len(columns) - sum(least)
    if spare < 0:
        return None
    wanted = [width - floor for width, floor in zip(natural, least, strict=True)]
    shares = [want if sum(wanted) <= spare else spare * want // sum(wanted) for want in wanted]
    return [floor + share for floor, share in zip(least, shares, strict=True)]


def _show_grid(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    table = Table(title=title, title_justify="left")
    for name, width in zip(columns, widths, strict=True):
        table.add_column(Text(name), width=width, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    total = 1 + _BORDERS_PER_COLUMN * len(columns) + sum(widths)
    console = Console(file=sys.stdout, width=max(total, cell_len(title)), highlight=False, markup=False, emoji=False)
    console.print(table)


def _show_blocks(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    longest = max(map(cell_len, columns))
    say(title)
    for line in cells:
        _write(sys.stdout, "")
        for name, cell in zip(columns, line, strict=True):
            if cell:
                say(f"  {name:<{longest}}  {cell}")


def _cell(value: object) -> str:
    """Instants to the second, because no decision hangs on microseconds; `--json` has them whole."""
    return "" if value is None else _printable(_FRACTION.sub(r"\1", str(value))).replace("\n", " ")


def _printable(text: str) -> str:
    """The text with control characters as escapes: a value may not move the cursor or end a row."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _write(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
