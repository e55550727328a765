"""WHERE conditions of the stand-in: which literals may be compared with which fields, and what matches.

Texts compare without regard to case unless the field's describe says otherwise; `!=` and NOT IN match empty fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from connectors.salesforce.sandbox.query.paths import Path, resolve
from connectors.salesforce.sandbox.query.soql_parser import (
    Among,
    Comparison,
    Condition,
    Literal,
    Logic,
    Not,
    Select,
    SemiJoin,
    malformed,
)
from connectors.salesforce.sandbox.schema import Schema, SObject
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import RowError, full_id, parse_instant, refuse

Match = Callable[[Row], bool]
_MOST_SEMI_JOINS = 2
_KIND_OF = {
    "boolean": "boolean",
    "date": "instant",
    "datetime": "instant",
    "int": "number",
    "double": "number",
    "currency": "number",
    "percent": "number",
}


def refuse_field(message: str) -> Exception:
    """INVALID_FIELD."""
    return refuse(400, "INVALID_FIELD", message)


def conjunction(where: Condition | None) -> Iterator[Condition]:
    """The terms that all have to hold."""
    if isinstance(where, Logic) and where.operator == "AND":
        for term in where.terms:
            yield from conjunction(term)
    elif where is not None:
        yield where


class Filter:
    """Compiles the condition of one SELECT over one object."""

    def __init__(
        self, store: Store, seen: Schema, found: SObject, semi_join: Callable[[SObject, Select], set[str]]
    ) -> None:
        self._store = store
        self._seen = seen
        self._found = found
        self._semi_join = semi_join

    def compiled(self, where: Condition | None) -> Match:
        """A predicate over rows. Raises ApiError for what can't be compared."""
        if where is None:
            return lambda row: True
        joins = list(_semi_joins(where))
        if len(joins) > _MOST_SEMI_JOINS:
            raise refuse(400, "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", "more than 2 semi join sub-selects")
        if any(list(_semi_joins(join.query.where)) for join in joins):
            raise malformed("Nesting of semi join sub-selects is not supported")
        return self._term(where, under_or=False)

    def _term(self, term: Condition, *, under_or: bool) -> Match:
        if isinstance(term, Logic):
            is_or = under_or or term.operator == "OR"
            parts = [self._term(t, under_or=is_or) for t in term.terms]
            if term.operator == "OR":
                return lambda row: any(part(row) for part in parts)
            return lambda row: all(part(row) for part in parts)
        if isinstance(term, Not):
            inner = self._term(term.term, under_or=under_or)
            return lambda row: not inner(row)
        path = self._path(term.path)
        if isinstance(term, SemiJoin):
            return self._joined(path, term, under_or=under_or)
        if isinstance(term, Among):
            wanted = {_comparable(path, literal) for literal in term.literals}
            if term.is_negated:
                return lambda row: _value(path, row) not in wanted
            return lambda row: _value(path, row) in wanted
        return self._comparison(path, term)

    def _path(self, text: str) -> Path:
        path = resolve(self._store, self._seen, self._found, text)
        if not path.field["filterable"]:
            raise refuse_field(f"field '{path.field['name']}' can not be filtered in a query call")
        return path

    def _joined(self, path: Path, term: SemiJoin, *, under_or: bool) -> Match:
        if under_or:
            raise malformed("Semi join sub-selects are not allowed with the 'OR' operator")
        if path.field["type"] not in ("id", "reference"):
            raise malformed("Semi join sub-selects can only be used with Id and reference fields")
        wanted = self._semi_join(self._found, term.query)
        if term.is_negated:
            return lambda row: path.value(row) not in wanted
        return lambda row: path.value(row) in wanted

    @staticmethod
    def _comparison(path: Path, term: Comparison) -> Match:
        name, kind = path.field["name"], path.field["type"]
        if term.operator == "LIKE":
            if kind in ("id", "reference") or kind in _KIND_OF or term.literal.kind != "text":
                raise refuse(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field {name}")
            pattern = _pattern(term.literal.value)
            return lambda row: isinstance(path.value(row), str) and pattern.fullmatch(path.value(row)) is not None
        wanted = _comparable(path, term.literal)
        if term.operator == "=":
            return lambda row: bool(_value(path, row) == wanted)
        if term.operator == "!=":
            return lambda row: bool(_value(path, row) != wanted)
        if wanted is None or kind in ("boolean", "id", "reference"):
            raise refuse(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field {name}")
        return _ordered(path, term.operator, wanted)


def _ordered(path: Path, operator: str, wanted: Any) -> Match:
    def match(row: Row) -> bool:
        value = _value(path, row)
        if value is None:
            return False
        if operator == "<":
            return bool(value < wanted)
        if operator == ">":
            return bool(value > wanted)
        return bool(value <= wanted if operator == "<=" else value >= wanted)

    return match


def _semi_joins(where: Condition | None) -> Iterator[SemiJoin]:
    if isinstance(where, SemiJoin):
        yield where
    elif isinstance(where, Not):
        yield from _semi_joins(where.term)
    elif isinstance(where, Logic):
        for term in where.terms:
            yield from _semi_joins(term)


def _comparable(path: Path, literal: Literal) -> Any:
    """A literal as it is compared with this field's values."""
    name, kind = path.field["name"], path.field["type"]
    expected = _KIND_OF.get(kind, "text")
    if literal.kind == "null" and kind != "boolean":
        return None
    if literal.kind != expected:
        quotes = "should be enclosed in quotes" if expected == "text" else "should not be enclosed in quotes"
        raise refuse_field(f"value of filter criterion for field '{name}' must be of type {kind} and {quotes}")
    if kind in ("id", "reference"):
        try:
            return full_id(literal.value)
        except RowError:
            raise refuse(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {literal.value[:40]}") from None
    if expected == "text":
        text = str(literal.value)
        # An empty text is an empty field.
        return (text if path.field["caseSensitive"] else text.casefold()) or None
    return literal.value


def _value(path: Path, row: Row) -> Any:
    value = path.value(row)
    if isinstance(value, str):
        if path.field["type"] in ("date", "datetime"):
            return parse_instant(value)
        if path.field["type"] not in ("id", "reference") and not path.field["caseSensitive"]:
            return value.casefold() or None
    return value


def _pattern(text: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            position += 1
            parts.append(re.escape(text[position]))
        else:
            parts.append({"%": ".*", "_": "."}.get(char, re.escape(char)))
        position += 1
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
