"""Read one line of an import, JSON or CSV, as the body of POST /v1/requests.

Decides the columns of the CSV form, and which lines can't be read. Each reason is a code, and each place is the name of
a field or a column, so that a refusal repeats nothing of the line.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.api.bodies.request_body import check_json
from service.api.bodies.split_lines import RawLine
from service.api.field_errors import field_problems
from service.api.problems import FieldError, Trouble
from service.api.schemas import SubmitBody, submission_of
from service.domain.field_problems import MOST_PROBLEMS, FieldProblem, names_a_field, nearest
from service.domain.requests.imports import ImportFormat
from service.requests.imports.accept_rows import Line, LineRefusal

FIXED_COLUMNS = (
    "kind",
    "regime",
    "received_at",
    "external_reference",
    "scopes",
    "verification_method",
    "verified_at",
)
REQUIRED_COLUMNS = ("kind", "regime", "received_at")
_IDENTIFIER = "identifier."
_BOM = b"\xef\xbb\xbf"
_NO_PLACES: Mapping[str, str] = MappingProxyType({})


class Unreadable(Exception):  # noqa: N818 - says what is true
    """The beginnings of the lines after this one can't be found."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class LineReader(Protocol):
    """Reads the lines of one body, in their order."""

    def take(self, raw: RawLine) -> Line | None:
        """Return the line; None for an empty line, and for the first part of a longer row. Raises Unreadable."""

    def finish(self) -> None:
        """End the body. Raises Unreadable if the last row is incomplete."""


def reader_of(file_format: ImportFormat, first: RawLine, submitted_by: UUID, kinds: Collection[str]) -> LineReader:
    """Return the reader of a body that begins with this line.

    A CSV header is checked at once; its columns of identifiers must be of `kinds`. Raises Trouble.
    """
    if file_format is ImportFormat.JSONL:
        return JsonReader(submitted_by)
    return CsvReader(first, submitted_by, kinds)


class JsonReader:
    """Reads one JSON object per line."""

    def __init__(self, submitted_by: UUID) -> None:
        self._submitted_by = submitted_by

    def take(self, raw: RawLine) -> Line | None:
        """Return the line's object."""
        if raw.content is None:
            return Line(raw.number, _unread("too_large", "line_too_long"))
        content = raw.content.removeprefix(_BOM) if raw.number == 1 else raw.content
        if not content.strip():
            return None
        try:
            value = check_json(content)
        except Trouble as trouble:
            errors = tuple(FieldProblem(error.field, error.reason) for error in trouble.errors)
            return Line(raw.number, LineRefusal(trouble.code, errors or (FieldProblem("", "not_json_in_utf_8"),)))
        return _line(raw.number, value, self._submitted_by, _NO_PLACES)

    def finish(self) -> None:
        """Do nothing, because no row is longer than a line."""


class CsvReader:
    """Reads rows under a header: RFC 4180, separated by commas, UTF-8."""

    def __init__(self, header: RawLine, submitted_by: UUID, kinds: Collection[str]) -> None:
        """Check the header. Raises Trouble, so that no line of the body is read."""
        self._submitted_by = submitted_by
        self._columns = _checked_header(header, kinds)
        self._open: tuple[int, bytes] | None = None

    def take(self, raw: RawLine) -> Line | None:
        """Return the row that ends in this line; a row with open quotes continues in the next line."""
        if raw.content is None:
            if self._open is not None:
                raise Unreadable(self._open[0], "quotes_not_closed")
            return Line(raw.number, _unread("too_large", "line_too_long"))
        number, content = raw.number, raw.content
        if self._open is not None:
            number, content = self._open[0], self._open[1] + b"\n" + raw.content
            if len(content) > 2 * 64 * 1024:
                raise Unreadable(number, "quotes_not_closed")
        if content.count(b'"') % 2:
            self._open = (number, content)
            return None
        self._open = None
        if not content.strip():
            return None
        if not raw.has_line_break:
            # The end of a value may be missing, and the rest may be another person's value.
            return Line(number, _unread("invalid", "no_line_break_at_the_end"))
        return self._row(number, content)

    def finish(self) -> None:
        """Raise Unreadable if the last row has open quotes."""
        if self._open is not None:
            raise Unreadable(self._open[0], "quotes_not_closed")

    def _row(self, number: int, content: bytes) -> Line:
        try:
            cells = _cells(content)
        except (UnicodeDecodeError, csv.Error) as error:
            reason = "not_utf_8" if isinstance(error, UnicodeDecodeError) else "malformed_row"
            return Line(number, _unread("invalid", reason))
        if len(cells) != len(self._columns):
            return Line(number, _unread("invalid", "wrong_number_of_columns"))
        pairs = [(name, cell.strip()) for name, cell in zip(self._columns, cells, strict=True)]
        given = {name: cell for name, cell in pairs if cell and name in FIXED_COLUMNS}
        identifiers = [(name, cell) for name, cell in pairs if cell and name not in FIXED_COLUMNS]
        proof = {
            field: given.pop(column)
            for field, column in (("method", "verification_method"), ("verified_at", "verified_at"))
            if column in given
        }
        # A cell holds several scopes, with semicolons between them.
        scopes = [name for part in given.pop("scopes", "").split(";") if (name := part.strip())]
        body = (
            given
            | ({"scopes": scopes} if scopes else {})
            | {
                "identifiers": [
                    {"kind": name.partition(".")[2], "value": value, "verification": proof or None}
                    for name, value in identifiers
                ]
            }
        )
        return _line(number, body, self._submitted_by, _places(tuple(name for name, _ in identifiers)))


def _cells(content: bytes) -> list[str]:
    (cells,) = csv.reader([content.decode("utf-8")], strict=True)
    return cells


def _checked_header(header: RawLine, kinds: Collection[str]) -> list[str]:
    if header.content is None:
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="line_too_long")])
    try:
        names = [name.strip() for name in _cells(header.content.removeprefix(_BOM))]
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="malformed_header")]) from None
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="columns_not_separated_by_commas")])
    of_identifiers = tuple(f"{_IDENTIFIER}{kind}" for kind in sorted(kinds))
    known = (*FIXED_COLUMNS, *of_identifiers)
    problems: list[FieldProblem] = []
    for place, name in enumerate(names, start=1):
        if len(problems) == MOST_PROBLEMS:
            break
        if name not in known:
            reason = "unknown_kind" if name.startswith(_IDENTIFIER) else "unknown_column"
            allowed = of_identifiers if name.startswith(_IDENTIFIER) else known
            problems.append(FieldProblem(f"/columns/{place}", reason, allowed, nearest(name, known)))
        elif name in names[: place - 1] and name in FIXED_COLUMNS:
            problems.append(FieldProblem(f"/columns/{place}", "column_twice"))
    problems += [FieldProblem(f"/{name}", "missing_column") for name in REQUIRED_COLUMNS if name not in names]
    if not any(name in of_identifiers for name in names):
        problems.append(FieldProblem("/identifiers", "missing_column", of_identifiers))
    if problems:
        raise Trouble(422, "validation", errors=[FieldError.of(problem) for problem in problems])
    return names


@lru_cache(maxsize=256)
def _places(columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return the column of each JSON pointer into the body of a row."""
    places = {f"/{name}": name for name in FIXED_COLUMNS}
    for place, name in enumerate(columns):
        for part in ("", "/kind", "/value", "/verification"):
            places[f"/identifiers/{place}{part}"] = name
        places[f"/identifiers/{place}/verification/method"] = "verification_method"
        places[f"/identifiers/{place}/verification/verified_at"] = "verified_at"
    return MappingProxyType(places)


def _line(number: int, value: object, submitted_by: UUID, places: Mapping[str, str]) -> Line:
    try:
        body = SubmitBody.model_validate(value)
    except ValidationError as error:
        return Line(number, LineRefusal("validation", _errors(error.errors(include_url=False), places)))
    return Line(number, submission_of(body, submitted_by), places)


def _errors(found: Sequence[ErrorDetails], places: Mapping[str, str]) -> tuple[FieldProblem, ...]:
    """Return the problems; a field's unknown name is repeated only if it resembles a known one.

    Refusals of lines are stored, and an unknown name may be personal.
    """
    in_body: list[ErrorDetails] = [{**item, "loc": ("body", *item["loc"])} for item in found]
    problems = field_problems(
        in_body, SubmitBody, may_repeat=lambda name, near: near is not None and names_a_field(name)
    )
    return tuple(dict.fromkeys(replace(each, field=places.get(each.field, each.field)) for each in problems))


def _unread(code: str, reason: str) -> LineRefusal:
    return LineRefusal(code, (FieldProblem("", reason),))
