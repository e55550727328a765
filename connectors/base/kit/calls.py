"""Declare a vendor's calls.

A declaration has method, path, query and JSON with one open place, pages, and the vendor's errors.

A declaration is a frozen value. `VALUE` marks the place of the identifier or record id; it is a whole path segment, a
whole parameter or a whole JSON value, never a part of a text, so that no value can change the call around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused
from connectors.base.toolkit.http import Reply, VendorClient
from connectors.base.toolkit.letters import in_one_case
from connectors.base.toolkit.vendor_json import parse_vendor_json

_MOST_PAGES = 1000


class Place(Enum):
    """The open place of a declared call."""

    VALUE = "value"


VALUE: Final = Place.VALUE


def values_at(body: Any, path: str) -> list[Any]:
    """Return every value at a dotted path: `errors.0.code`, `contacts.*.id`.

    Empty where a part is missing.

    A number is an index of a list, `*` is each item of a list, anything else is a name in an object.
    """
    found = [body]
    for part in path.split("."):
        found = [inner for value in found for inner in _inside(value, part)]
    return found


def value_at(body: Any, path: str) -> Any:
    """Return the first value at a dotted path, or None."""
    return next(iter(values_at(body, path)), None)


def text_of(value: Any, name: str) -> str:
    """Return an id as text: ids are texts or integers. Raises AnswerNotUnderstood(`field_missing:<name>`)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise AnswerNotUnderstood(f"field_missing:{name.lower()}")
    return value


def instant_of(value: Any, name: str) -> datetime:
    """Return an ISO 8601 instant; one without a zone is UTC.

    Raises AnswerNotUnderstood(`field_missing:<name>`).
    """
    try:
        at = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise AnswerNotUnderstood(f"field_missing:{name.lower()}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def is_same(found: Any, value: str, *, ignores_case: bool) -> bool:
    """True if a field of an answer holds exactly this value.

    A hit without an exact match is another person's.
    """
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        return False
    return in_one_case(found) == in_one_case(value) if ignores_case else found == value


@dataclass(frozen=True, slots=True)
class Call:
    """One call about one value. `path` is a text, or a tuple of texts and `VALUE`, joined by slashes.

    `may_be_empty`: an expected answer may have no body. `says`: a path in an expected answer and the value that must be
    there, for vendors that confirm an effect in words.
    """

    method: str
    path: str | tuple[str | Place, ...]
    params: Mapping[str, str | Place] = field(default_factory=dict)
    json: Any = None
    expect: tuple[int, ...] = (200,)
    may_be_empty: bool = False
    says: tuple[str, Any] | None = None

    def send(
        self, client: VendorClient, value: str, *, page: Mapping[str, Any] | None = None, also: tuple[int, ...] = ()
    ) -> Reply:
        """Make the call.

        `page` is what a pages declaration adds; `also` are further statuses that the caller reads.

        Raises RequestRefused(`blank_value`), because a blank value in a path addresses the whole collection, and
        AnswerNotUnderstood(`not_confirmed`) for an answer without what it must say; else as `VendorClient.request`.
        """
        if not value.strip() and self._has_value:
            raise RequestRefused("blank_value")
        parts = (self.path,) if isinstance(self.path, str) else self.path
        json = _filled(self.json, value)
        params: dict[str, str | int] = {name: value if text is VALUE else text for name, text in self.params.items()}
        if json is None:
            params |= page or {}
        else:
            for name, addition in (page or {}).items():
                _put(json, name, addition)
        reply = client.request(
            self.method,
            "/".join(quote(value, safe="") if part is VALUE else part for part in parts),
            expect=(*self.expect, *also),
            params=params or None,
            json_body=json,
            may_be_empty=self.may_be_empty,
        )
        if self.says is not None and reply.status in self.expect and value_at(reply.body, self.says[0]) != self.says[1]:
            raise AnswerNotUnderstood("not_confirmed", status=reply.status, effect_unknown=True)
        return reply

    @property
    def _has_value(self) -> bool:
        path = () if isinstance(self.path, str) else self.path
        return VALUE in path or VALUE in self.params.values() or _holds_value(self.json)


@dataclass(frozen=True, slots=True)
class Gone:
    """The vendor's own words for "there is no such record".

    A wrong base URL and a proxy answer 404 as well.
    """

    code_at: str
    codes: tuple[str, ...]
    status: int = 404

    def says(self, reply: Reply) -> bool:
        """True if the answer says it.

        Raises AnswerNotUnderstood(`not_found`) for the status without the words.
        """
        if reply.status != self.status:
            return False
        if value_at(reply.body, self.code_at) not in self.codes:
            raise AnswerNotUnderstood("not_found", status=reply.status)
        return True


class Pages(Protocol):
    """How the next page is asked for."""

    def next(self, body: Any, number: int, rows: int) -> Mapping[str, Any] | None:
        """Return what the call for page `number + 1` adds, or None if `body`, page `number`, is the last one.

        `rows`: how many rows the pages had so far, this one included. Raises AnswerNotUnderstood.
        """


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next page's cursor is in the answer at `read`.

    The call has it at `write`, a parameter or a path in JSON.

    `more`: where the answer says with true or false whether there is a next page, for vendors with a cursor at the end.
    """

    read: str
    write: str
    more: str | None = None

    def next(self, body: Any, number: int, rows: int) -> Mapping[str, Any] | None:
        """Return the cursor, or None without one.

        Raises AnswerNotUnderstood where `more` contradicts the cursor.
        """
        cursor = value_at(body, self.read)
        if self.more is None:
            return None if cursor in (None, "") else {self.write: cursor}
        more = value_at(body, self.more)
        if not isinstance(more, bool) or (more and cursor in (None, "")):
            raise AnswerNotUnderstood("page_cursor")
        return {self.write: cursor} if more else None


@dataclass(frozen=True, slots=True)
class PageNumbers:
    """Pages are numbered from 1 in `write`.

    Either the answer has the number of pages at `total`, or at `link` the URL of the next page, null at the end. The
    URL itself is never called.
    """

    write: str
    total: str | None = None
    link: str | None = None

    def next(self, body: Any, number: int, rows: int) -> Mapping[str, Any] | None:
        """Return the next number. Raises AnswerNotUnderstood(`page_total`) for an answer without the total."""
        if self.total is None:
            return None if value_at(body, self.link or "") is None else {self.write: number + 1}
        return {self.write: number + 1} if number < _count(body, self.total) else None


@dataclass(frozen=True, slots=True)
class Offsets:
    """The call has the number of rows seen so far in `write`.

    The answer has the number of all rows at `total`.
    """

    write: str
    total: str

    def next(self, body: Any, number: int, rows: int) -> Mapping[str, Any] | None:
        """Return the offset of the next page.

        Raises AnswerNotUnderstood(`page_total`) for no total or no rows.
        """
        if rows >= _count(body, self.total):
            return None
        if rows == 0:
            raise AnswerNotUnderstood("page_total")
        return {self.write: rows}


@dataclass(frozen=True, slots=True)
class Listing:
    """All rows of a collection, from every page.

    `rows`: where an answer holds its rows. `gone`: the answer of a vendor that has no such collection, read as no rows.
    """

    call: Call
    rows: str
    pages: Pages | None = None
    gone: Gone | None = None
    most_pages: int = _MOST_PAGES

    def all(self, client: VendorClient, value: str = "") -> Iterator[Mapping[str, Any]]:
        """Yield every row.

        Raises AnswerNotUnderstood for another form, a page asked for twice, and too many pages.
        """
        page: Mapping[str, Any] = {}
        asked: list[Mapping[str, Any]] = []
        count = 0
        for number in range(1, self.most_pages + 1):
            asked.append(page)
            reply = self.call.send(client, value, page=page, also=(self.gone.status,) if self.gone else ())
            if self.gone is not None and self.gone.says(reply):
                return
            rows = value_at(reply.body, self.rows)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise AnswerNotUnderstood(f"field_missing:{self.rows.lower()}")
            yield from rows
            count += len(rows)
            following = self.pages.next(reply.body, number, count) if self.pages else None
            if following is None:
                return
            if following in asked:
                break
            page = following
        raise AnswerNotUnderstood("too_many_pages")


@dataclass(frozen=True, slots=True)
class ByIds:
    """Rows of a vendor that shows many records in one call.

    `call` has the ids at `VALUE`, with commas between.
    """

    call: Call
    rows: str
    most: int = 100

    def all(self, client: VendorClient, ids: Iterable[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of those records that the vendor has. Raises AnswerNotUnderstood for another form."""
        every = sorted(set(ids))
        for begin in range(0, len(every), self.most):
            yield from Listing(self.call, self.rows).all(client, ",".join(every[begin : begin + self.most]))


def by_id(rows: Iterable[Mapping[str, Any]], id_at: str = "id") -> dict[str, Mapping[str, Any]]:
    """Return rows by their id as text. Raises AnswerNotUnderstood for a row without one."""
    return {text_of(value_at(row, id_at), id_at): row for row in rows}


@dataclass(frozen=True, slots=True)
class Search:
    """All rows about one value, from every page.

    `rows`: where an answer holds its rows. `equals`: where a row holds the value; a row with another value is no hit.
    None only where the vendor's search is exact by its documentation. `ignores_case`: for e-mail addresses; the value
    is then asked for as it is and in lower case, because a vendor may store it in lower case. `gone`: the answer of a
    collection inside a record (`/customers/7/orders`) after the record was deleted, read as no rows.
    """

    call: Call
    rows: str
    equals: str | None
    ignores_case: bool = False
    pages: Pages | None = None
    gone: Gone | None = None

    def all(self, client: VendorClient, value: str) -> Iterator[Mapping[str, Any]]:
        """Yield every exact hit. Raises AnswerNotUnderstood as `Listing.all`."""
        listing = Listing(self.call, self.rows, self.pages, self.gone)
        for form in dict.fromkeys((value, in_one_case(value)) if self.ignores_case else (value,)):
            for row in listing.all(client, form):
                if self.equals is None or any(
                    is_same(found, value, ignores_case=self.ignores_case) for found in values_at(row, self.equals)
                ):
                    yield row


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """The vendor's error codes that mean something else than their status: `refine` of a `VendorClient`.

    `errors`: from the vendor's code, found at `code_at`, to the class of our error and our code for it.
    """

    code_at: str
    errors: Mapping[str, tuple[Callable[..., ConnectorError], str]]

    def __call__(self, answer: httpx.Response) -> ConnectorError | None:
        """Return the error for a known code, or None: then the status decides."""
        try:
            code = value_at(parse_vendor_json(answer.content), self.code_at)
        except AnswerNotUnderstood:
            return None
        known = self.errors.get(code) if isinstance(code, str) else None
        return None if known is None else known[0](known[1], status=answer.status_code)


def _count(body: Any, path: str) -> int:
    count = value_at(body, path)
    if not isinstance(count, int) or isinstance(count, bool):
        raise AnswerNotUnderstood("page_total")
    return count


def _holds_value(template: Any) -> bool:
    if isinstance(template, Mapping):
        return any(map(_holds_value, template.values()))
    if isinstance(template, (list, tuple)):
        return any(map(_holds_value, template))
    return template is VALUE


def _inside(value: Any, part: str) -> Collection[Any]:
    if isinstance(value, list):
        if part == "*":
            return value
        return [value[int(part)]] if part.isdigit() and int(part) < len(value) else []
    return [value[part]] if isinstance(value, dict) and part in value else []


def _filled(template: Any, value: str) -> Any:
    if isinstance(template, Mapping):
        return {name: _filled(item, value) for name, item in template.items()}
    if isinstance(template, (list, tuple)):
        return [_filled(item, value) for item in template]
    return value if template is VALUE else template


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        body = body.setdefault(part, {})
    body[last] = value
