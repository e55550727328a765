"""Write SOQL: statements, conditions and literals, below the vendor's limits.

Decides how SOQL is spelled, in this module only, and how many values one statement holds; not what is asked.

Limits: 100,000 characters a statement, 4,000 a string, 20 sub-selects (SOQL reference, read 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from simple_salesforce.format import quote_soql_value

from connectors.base.errors import AnswerNotUnderstood

MAX_STATEMENT = 98_000
MAX_STRING = 4_000
MAX_SUBSELECTS = 20
_NAME = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)*", re.ASCII)


def quote(value: str) -> str:
    """Return a string literal with quotes, backslashes and line breaks escaped."""
    return str(quote_soql_value(value))


def select(
    fields: Iterable[str],
    source: str,
    where: str = "",
    *,
    sub_selects: Iterable[str] = (),
    order_by: str = "",
    limit: int = 0,
) -> str:
    """Return one statement. `sub_selects` are statements over relations of `source`.

    Raises AnswerNotUnderstood(`name_form`) for a name that isn't an identifier, because names come from the org's
    describe and aren't quoted in SOQL.
    """
    columns = [*map(_name, fields), *(f"({text})" for text in sub_selects)]
    words = ["SELECT", ", ".join(columns), "FROM", _name(source)]
    words += ["WHERE", where] if where else []
    words += ["ORDER BY", _name(order_by)] if order_by else []
    words += ["LIMIT", str(limit)] if limit else []
    return " ".join(words)


def all_of(*conditions: str) -> str:
    """Return the condition that all of these hold; empty ones are left out."""
    return _joined("AND", conditions)


def any_of(*conditions: str) -> str:
    """Return the condition that one of these holds; empty ones are left out."""
    return _joined("OR", conditions)


def selects(
    fields: Sequence[str],
    source: str,
    clauses: Sequence[tuple[str, Sequence[str]]],
    also: str = "",
    most: int = 0,
    beside: str = "",
    sub_selects: Sequence[str] = (),
) -> list[str]:
    """Return statements that together find the rows that one of `clauses` and `also` describe.

    `clauses`: pairs of a field and the values that it may have. `beside`: a condition that finds rows as well. More
    values than fit into one statement, or than `most` if given, make several statements. Without values there is no
    statement, or only the one for `beside`.
    """

    def statement(where: str) -> str:
        return select(fields, source, where, sub_selects=sub_selects)

    def among(parts: Mapping[str, Sequence[str]]) -> str:
        found = any_of(*(f"{_name(name)} IN ({','.join(texts)})" for name, texts in parts.items()))
        if also:
            return all_of(f"({found})", also)
        return any_of(f"({found})", beside) if beside else found

    room = MAX_STATEMENT - len(statement(among({}) or "()"))
    statements: list[str] = []
    parts: dict[str, list[str]] = {}
    used = count = 0
    for name, values in clauses:
        for value in dict.fromkeys(values):
            if len(value) > MAX_STRING:
                continue  # no field that can be filtered holds so long a text
            text = quote(value)
            size = len(text) + 1 + (0 if name in parts else len(name) + len(" OR  IN ()"))
            if parts and (used + size > room or (most and count == most)):
                statements.append(statement(among(parts)))
                parts, used, count = {}, 0, 0
                size = len(text) + 1 + len(name) + len(" OR  IN ()")
            parts.setdefault(name, []).append(text)
            used += size
            count += 1
    if parts:
        statements.append(statement(among(parts)))
    return statements or ([statement(beside)] if beside else [])


def by_id(record_id: str) -> str:
    """Return the 15-character form of an id: the API takes both, and more ids fit into a statement.

    Source: REST API, "ID Field Type"; the other three characters only repeat which letters are capitals
    (read 2026-11-22). Any other text is returned unchanged.
    """
    return record_id[:15] if len(record_id) == 18 and record_id.isascii() and record_id.isalnum() else record_id


def _joined(word: str, conditions: Iterable[str]) -> str:
    return f" {word} ".join(filter(None, conditions))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise AnswerNotUnderstood("name_form")
    return name
