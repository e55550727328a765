"""Lines of CSV without formulas.

Decides the form of a cell: RFC 4180, and a leading apostrophe before a text that a spreadsheet would read as a formula.
The characters are those of OWASP's page on CSV injection, full-width forms included (read 2026-11-22).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

Cell = str | int | None
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_line(cells: Iterable[Cell]) -> bytes:
    """Return one line in UTF-8 with CRLF at its end; None is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([_harmless(cell) for cell in cells])
    return out.getvalue().encode("utf-8")


def _harmless(cell: Cell) -> Cell:
    """Return the cell with an apostrophe before a formula.

    Numbers are the service's own and stay numbers. Leading spaces are ignored, because some programs skip them.
    """
    if isinstance(cell, str) and (cell.startswith(_STARTS_A_FORMULA) or cell.lstrip(" ").startswith(_STARTS_A_FORMULA)):
        return f"'{cell}"
    return cell
