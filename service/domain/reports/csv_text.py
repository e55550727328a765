"""Lines of CSV that a spreadsheet can't be tricked by.

Decides how a cell is written: RFC 4180, and a leading apostrophe before what a spreadsheet would take for a formula.
The characters are those of OWASP's page on CSV injection, full-width forms included (read 2026-11-22).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

Cell = str | int | None
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_line(cells: Iterable[Cell]) -> bytes:
    """One line in UTF-8 with CRLF at its end; None is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([_harmless(cell) for cell in cells])
    return out.getvalue().encode("utf-8")


def _harmless(cell: Cell) -> Cell:
    """Numbers are ours and stay numbers. Spaces in front hide nothing: some programs skip them."""
    if isinstance(cell, str) and (cell.startswith(_STARTS_A_FORMULA) or cell.lstrip(" ").startswith(_STARTS_A_FORMULA)):
        return f"'{cell}"
    return cell
