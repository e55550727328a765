"""SOQL texts: quoting, and statements that stay below the vendor's limits.

Limits: 100,000 characters a statement, 4,000 a string, 20 sub-selects (SOQL reference, read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simple_salesforce.format import quote_soql_value

MAX_STATEMENT = 95_000
MAX_STRING = 4_000
MAX_SUBSELECTS = 20


def quote(value: str) -> str:
    """A string literal; quotes, backslashes and line breaks escaped."""
    return str(quote_soql_value(value))


def selects(
    fields: Iterable[str], source: str, clauses: Sequence[tuple[str, Sequence[str]]], also: str = ""
) -> list[str]:
    """Statements that together find the rows for which one of `clauses` (field, values) holds, and `also`.

    More values than fit into one statement make several. No values: no statement.
    """
    head = f"SELECT {', '.join(fields)} FROM {source} WHERE "  # noqa: S608 - names are describe's, values quoted
    tail = f" AND {also}" if also else ""
    room = MAX_STATEMENT - len(head) - len(tail) - 2
    statements: list[str] = []
    parts: list[str] = []
    used = 0
    for name, values in clauses:
        for text in _in_lists(name, values, room - 8):
            if parts and used + len(text) + 4 > room:
                statements.append(_statement(head, parts, tail))
                parts, used = [], 0
            parts.append(text)
            used += len(text) + 4
    if parts:
        statements.append(_statement(head, parts, tail))
    return statements


def _statement(head: str, parts: Sequence[str], tail: str) -> str:
    joined = " OR ".join(parts)
    return f"{head}({joined}){tail}" if tail else f"{head}{joined}"


def _in_lists(name: str, values: Sequence[str], room: int) -> Iterable[str]:
    """`name IN (...)` for as many values as have room, again and again."""
    some: list[str] = []
    used = 0
    for value in dict.fromkeys(values):
        if len(value) > MAX_STRING:
            continue  # no field that can be filtered holds so long a text
        text = quote(value)
        if some and used + len(text) + 1 > room - len(name):
            yield f"{name} IN ({','.join(some)})"
            some, used = [], 0
        some.append(text)
        used += len(text) + 1
    if some:
        yield f"{name} IN ({','.join(some)})"
