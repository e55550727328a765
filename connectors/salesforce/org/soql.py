"""SOQL texts: quoting, and statements that stay below the vendor's limits.

Limits: 100,000 characters a statement, 4,000 a string, 20 sub-selects (SOQL reference, read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simple_salesforce.format import quote_soql_value

MAX_STATEMENT = 98_000
MAX_STRING = 4_000
MAX_SUBSELECTS = 20


def quote(value: str) -> str:
    """A string literal; quotes, backslashes and line breaks escaped."""
    return str(quote_soql_value(value))


def selects(
    fields: Iterable[str],
    source: str,
    clauses: Sequence[tuple[str, Sequence[str]]],
    also: str = "",
    most: int = 0,
    beside: str = "",
) -> list[str]:
    """Statements that together find the rows for which one of `clauses` (field, values) holds, and `also`.

    More values than fit into one statement, or than `most` if given, make several. No values: no statement, unless each
    is to find what `beside` says as well.
    """
    head = f"SELECT {', '.join(fields)} FROM {source} WHERE "  # noqa: S608 - names are describe's, values quoted
    tail = f" AND {also}" if also else f" OR {beside}" if beside else ""
    room = MAX_STATEMENT - len(head) - len(tail) - 2
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
                statements.append(_statement(head, parts, tail))
                parts, used, count = {}, 0, 0
                size = len(text) + 1 + len(name) + len(" OR  IN ()")
            parts.setdefault(name, []).append(text)
            used += size
            count += 1
    if parts:
        statements.append(_statement(head, parts, tail))
    return statements or ([f"{head}{beside}"] if beside else [])


def by_id(record_id: str) -> str:
    """The 15-character form of an id, which the API takes as well: more of them fit into a statement.

    Source: REST API, "ID Field Type"; the other three characters only repeat which letters are capitals
    (read 2026-11-22). Anything else is left as it is.
    """
    return record_id[:15] if len(record_id) == 18 and record_id.isascii() and record_id.isalnum() else record_id


def _statement(head: str, parts: Mapping[str, Sequence[str]], tail: str) -> str:
    joined = " OR ".join(f"{name} IN ({','.join(texts)})" for name, texts in parts.items())
    return f"{head}({joined}){tail}" if tail else f"{head}{joined}"
