"""Pages of query results: 2,000 rows counted with their children, and cursors for what didn't fit.

A nested list that doesn't fit has its own `done` and `nextRecordsUrl`: who ignores it loses records silently. Cursors
live two days. Source: REST API Developer Guide, "Query"; SOQL limits (read 2026-11-22).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from connectors.salesforce.sandbox.wire import refuse

_LIFE = timedelta(days=2)


class Nested(list[dict[str, Any]]):
    """Rendered records of one SELECT, not yet cut into pages."""


class Pages:
    """The open cursors of one stand-in."""

    def __init__(self) -> None:
        self._cursors: dict[str, tuple[datetime, Nested, int, int, str]] = {}

    def first(self, found: Nested, total: int, size: int, nested_size: int, base: str, now: datetime) -> dict[str, Any]:
        """The first page of a result."""
        return _Cut(self, size, nested_size, base, now).page(found, 0, total, size)

    def more(self, locator: str, size: int, nested_size: int, base: str, now: datetime) -> dict[str, Any]:
        """The page that a cursor points at; the same one as often as asked."""
        known = self._cursors.get(locator)
        if known is None or known[0] + _LIFE < now:
            raise refuse(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        _, found, start, total, _ = known
        return _Cut(self, size, nested_size, base, now).page(found, start, total, size)

    def keep(self, found: Nested, start: int, total: int, now: datetime, base: str) -> str:
        """Open a cursor; the answer is its URL."""
        locator = f"01g5g0{len(self._cursors) + 1:09d}AAA-{start}"
        self._cursors[locator] = (now, found, start, total, base)
        return f"{base}/query/{locator}"


class _Cut:
    """One page in the making: how many rows still fit."""

    def __init__(self, pages: Pages, size: int, nested_size: int, base: str, now: datetime) -> None:
        self._pages, self._room, self._nested_size, self._base, self._now = pages, size, nested_size, base, now

    def page(self, found: Nested, start: int, total: int, most: int) -> dict[str, Any]:
        """Records from `start` as long as they fit, at most `most`."""
        shown: list[dict[str, Any]] = []
        position = start
        while position < len(found) and self._room > 0 and len(shown) < most:
            record = found[position]
            has_children = any(isinstance(value, Nested) and value for value in record.values())
            if has_children and self._room < 2 and shown:
                break
            self._room -= 1
            shown.append({name: self._value(value) for name, value in record.items()})
            position += 1
        page: dict[str, Any] = {"totalSize": total, "done": position >= len(found), "records": shown}
        if not page["done"]:
            page["nextRecordsUrl"] = self._pages.keep(found, position, total, self._now, self._base)
        return page

    def _value(self, value: Any) -> Any:
        if not isinstance(value, Nested):
            return value
        return self.page(value, 0, len(value), self._nested_size) if value else None
