"""Many queries in few calls, every page of every list followed, nested lists included.

Decides how queries travel and when an empty answer counts; never what they ask. All reading is `queryAll`: recycle bin,
merge losers and archived activities are invisible to `query` (REST API, QueryAll, read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote as url_quote

from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused, TemporarilyUnavailable
from connectors.base.toolkit.http import field_of
from connectors.salesforce.org.org import MAX_HEAVY_SUBREQUESTS, Org, Subanswer, Subrequest, part_codes, part_error
from connectors.salesforce.org.statement_packing import Load, loads
from connectors.salesforce.org.visibility import Control

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
    """Runs queries, five a call.

    An empty list counts only if the call that brought it showed that it sees.
    """

    def __init__(self, org: Org, control: Control) -> None:
        self._org = org
        self.control = control

    @property
    def asks_deeply(self) -> bool:
        """True if statements may ask for much at once, children's children included."""
        return self._org.takes_deep_queries

    def run(self, statements: Sequence[str], sure: Collection[int] = (), *, expecting: bool = True) -> list[Rows]:
        """The rows of each statement, all pages. Raises SchemaChangedError, and ConnectorErrors.

        `sure`: numbers of the statements that show a row to whoever sees. `expecting`: see `loads`.
        """
        return self.whole(self._seen([query_all(text) for text in statements], sure, expecting=expecting))

    def whole(self, answers: Iterable[Subanswer]) -> list[Rows]:
        """The rows of first pages with those of all that follow."""
        results: list[Rows] = []
        open_lists: list[OpenList] = []
        for answer in answers:
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

    def _seen(self, parts: Sequence[Subrequest], sure: Collection[int], *, expecting: bool) -> list[Subanswer]:
        """Return an answer for each statement, from a call that saw.

        Statements without proof in their call are asked once more under control.
        """
        answers: dict[int, Subanswer] = {}
        doubtful: list[int] = []
        for load in loads(len(parts), sure, expecting=expecting):
            found, is_proven = self._call(parts, load, sure)
            answers |= found
            doubtful += () if is_proven else load.numbers
        for load in loads(len(doubtful), expecting=False):
            again = Load(tuple(doubtful[n] for n in load.numbers), has_control=True)
            found, is_proven = self._call(parts, again, sure)
            if not is_proven:
                raise CredentialsRefused("no_visibility")
            answers |= found
        return [answers[number] for number in range(len(parts))]

    def _call(
        self, parts: Sequence[Subrequest], load: Load, sure: Collection[int]
    ) -> tuple[dict[int, Subanswer], bool]:
        asked = [parts[number] for number in load.numbers]
        asked += [query_all(self.control.statement)] if load.has_control else []
        got = self._org.composite(asked)
        answers = dict(zip(load.numbers, got, strict=False))
        if load.has_control:
            for answer in got:
                _check(answer)
            return answers, self.control.is_shown(_take(got[-1], []))
        return answers, shows([answers[n] for n in load.numbers], [n in sure for n in load.numbers])

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
    _check(answer)
    return _rows(answer.body, open_lists)


def _check(answer: Subanswer) -> None:
    if answer.status == 200:
        return
    if part_codes(answer) & {"INVALID_FIELD", "INVALID_TYPE"}:
        raise SchemaChangedError
    if part_codes(answer) & _TOO_HEAVY:
        raise TooHeavyError("query_too_heavy", status=answer.status)
    raise part_error(answer)


def shows(answers: Sequence[Subanswer], sure: Sequence[bool]) -> bool:
    """True if one call's answers prove that it saw: every sure one has a row; where none is sure, any of them has.

    Raises what an answer says that isn't a list.
    """
    for answer in answers:
        _check(answer)
    shown = [bool(field_of(answer.body, "records", list)) for answer in answers]
    marked = [is_shown for is_shown, is_sure in zip(shown, sure, strict=True) if is_sure]
    return all(marked) if marked else any(shown)


def _rows(body: Any, open_lists: list[OpenList]) -> Rows:
    rows: Rows = field_of(body, "records", list)
    if not field_of(body, "done", bool):
        open_lists.append((field_of(body, "nextRecordsUrl", str), rows, field_of(body, "totalSize", int)))
    for row in rows:
        for value in row.values():
            if isinstance(value, dict) and "records" in value:
                _rows(value, open_lists)
    return rows
