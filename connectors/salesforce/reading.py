"""Many queries in few calls, every page of every list followed, nested lists included.

Decides how queries travel; never what they ask. All reading is `queryAll`: recycle bin, merge losers and archived
activities are invisible to `query` (REST API, QueryAll, read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote as url_quote

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.toolkit.http import field_of
from connectors.salesforce.org import MAX_HEAVY_SUBREQUESTS, Org, Subanswer, Subrequest, part_codes, part_error

Rows = list[dict[str, Any]]
OpenList = tuple[str, Rows, int]
"""Where a list goes on, the list itself, and how many rows it has in all."""


_TOO_HEAVY = frozenset({"QUERY_TIMEOUT", "QUERY_TOO_COMPLICATED"})


class SchemaChangedError(Exception):
    """A field or object that was asked for isn't there: the schema must be read anew."""


class TooHeavyError(TemporarilyUnavailable):
    """The org gave a query up: the next ones ask for less at once."""


def query_all(statement: str) -> Subrequest:
    """One query, bin and archive included."""
    return Subrequest("GET", f"queryAll?q={url_quote(statement, safe='')}")


class Reader:
    """Runs queries, five a call."""

    def __init__(self, org: Org) -> None:
        self._org = org

    @property
    def asks_deeply(self) -> bool:
        """True if statements may ask for much at once, children's children included."""
        return self._org.takes_deep_queries

    def run(self, statements: Sequence[str], given: Sequence[Subanswer] = ()) -> list[Rows]:
        """The rows of each statement, all pages. Raises SchemaChangedError, and ConnectorErrors.

        `given`: answers that the first statements have got already.
        """
        results: list[Rows] = []
        open_lists: list[OpenList] = []
        for answer in (*given, *self._ask([query_all(text).path for text in statements[len(given) :]])):
            results.append(_take(answer, open_lists))
        promised = list(open_lists)
        seen: set[str] = set()
        while open_lists:
            pages, open_lists = open_lists, []
            paths = [self._path(locator, seen) for locator, _, _ in pages]
            for (_, rows, _), answer in zip(pages, self._ask(paths), strict=True):
                more: list[OpenList] = []
                page = _take(answer, more)
                rows += page
                promised += [each for each in more if each[1] is not page]
                # A list's own next page goes on with the list that it belongs to.
                open_lists += [(loc, rows if own is page else own, total) for loc, own, total in more]
        # A page that comes back empty, to a credential that went blind on the way, must not look like the end.
        if any(len(rows) < total for _, rows, total in promised):
            raise TemporarilyUnavailable("list_ended_early")
        return results

    def _path(self, locator: str, seen: set[str]) -> str:
        prefix = f"{self._org.root}/"
        if not locator.startswith(prefix) or locator in seen:
            raise AnswerNotUnderstood("cursor")
        seen.add(locator)
        return locator.removeprefix(prefix)

    def _ask(self, paths: Sequence[str]) -> Iterator[Subanswer]:
        for start in range(0, len(paths), MAX_HEAVY_SUBREQUESTS):
            some = paths[start : start + MAX_HEAVY_SUBREQUESTS]
            yield from self._org.composite([Subrequest("GET", path) for path in some])


def _take(answer: Subanswer, open_lists: list[OpenList]) -> Rows:
    """The rows of one page; lists that aren't complete are noted, each with the list to go on with and its size."""
    if answer.status != 200:
        if part_codes(answer) & {"INVALID_FIELD", "INVALID_TYPE"}:
            raise SchemaChangedError
        if part_codes(answer) & _TOO_HEAVY:
            raise TooHeavyError("query_too_heavy", status=answer.status)
        raise part_error(answer)
    return _rows(answer.body, open_lists)


def _rows(body: Any, open_lists: list[OpenList]) -> Rows:
    rows: Rows = field_of(body, "records", list)
    if not field_of(body, "done", bool):
        open_lists.append((field_of(body, "nextRecordsUrl", str), rows, field_of(body, "totalSize", int)))
    for row in rows:
        for value in row.values():
            if isinstance(value, dict) and "records" in value:
                _rows(value, open_lists)
    return rows
