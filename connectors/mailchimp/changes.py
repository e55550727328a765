"""Members of all audiences that were created or changed since an instant, page by page.

Decides how far a page reaches and where the next one begins. A round reads each audience, then its archived members,
from the round's own beginning, by `last_changed`. A page begins at the last instant of the page before, because a
member that changes meanwhile moves to the end of the list, and offsets alone would skip another one. The next round
begins at the time, by Mailchimp's clock, at which this one began, less an overlap.

Sources: Marketing API specification 3.0.55, `GET /lists/{list_id}/members`: `since_last_changed` ("after"),
`sort_field=last_changed`, `count` up to 1,000 (read 2026-12-01). Unconfirmed: how late a change may appear in the list
(the overlap assumes ten minutes), and that archived members are listed with `status=archived` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.kit.calls import VALUE, Call
from connectors.base.toolkit.http import VendorClient, field_of
from connectors.base.toolkit.http_dates import parse_http_date
from connectors.base.values import ChangedRecord, ChangePage, Identifier, Record

OVERLAP = timedelta(minutes=10)
ROWS_PER_PAGE = 1_000
# Of one instant with more members than a page: so many may leave it, by a change, between two pages.
_STEP_BACK = 100
_SECOND = timedelta(seconds=1)
_ACTIVE, _ARCHIVED = "active", "archived"
_FIELDS = "members.id,members.list_id,members.contact_id,members.email_address,members.merge_fields"
_PAGE = Call(
    "GET",
    ("/lists", VALUE, "members"),
    params={
        "count": str(ROWS_PER_PAGE),
        "sort_field": "last_changed",
        "sort_dir": "ASC",
        "fields": f"{_FIELDS},members.sms_phone_number,members.last_changed,total_items",
    },
)


@dataclass(frozen=True)
class _Cursor:
    """A place in a round that began at `started` and reads what changed from `since` on."""

    since: datetime
    started: datetime | None
    stream: tuple[str, str]
    at: datetime
    offset: int

    def __str__(self) -> str:
        started = "" if self.started is None else _instant_text(self.started)
        parts = (_instant_text(self.since), started, *self.stream, _instant_text(self.at), str(self.offset))
        return "|".join(parts)


class ChangeReader:
    """Reads one page at a time; keeps nothing in between.

    `carried`: the identifiers of a member.
    """

    def __init__(
        self,
        http: VendorClient,
        audiences: Iterable[str],
        carried: Callable[[Record, Mapping[str, Any]], tuple[Identifier, ...]],
        object_name: str,
    ) -> None:
        self._http = http
        self._streams = [(audience, kind) for audience in sorted(audiences) for kind in (_ACTIVE, _ARCHIVED)]
        self._carried = carried
        self._object = object_name

    def page(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """Return at most ROWS_PER_PAGE members of one audience."""
        here = self._beginning(begin_at - OVERLAP) if cursor is None else self._placed(_parsed(cursor))
        audience, kind = here.stream
        # `after` may leave the instant itself out; a record that is returned twice is no harm.
        page = {"since_last_changed": _instant_text(here.at - _SECOND), "offset": str(here.offset)}
        reply = _PAGE.send(self._http, audience, page=page if kind == _ACTIVE else {**page, "status": _ARCHIVED})
        rows = reply.field("members", list)
        changed = [self._one(row, audience) for row in rows]
        instants = [each.changed_at for each in changed]
        if instants != sorted(instants):
            raise AnswerNotUnderstood("changes_not_sorted")
        started = here.started or parse_http_date(reply.headers.get("date")) or here.since + OVERLAP
        following = self._following(replace(here, started=started), instants)
        return ChangePage(tuple(changed), str(following), more=following.started is not None)

    def _following(self, here: _Cursor, instants: list[datetime]) -> _Cursor:
        if len(instants) >= ROWS_PER_PAGE:
            if instants[-1] > here.at:
                return replace(here, at=instants[-1], offset=0)
            return replace(here, offset=here.offset + ROWS_PER_PAGE - _STEP_BACK)
        later = [stream for stream in self._streams if stream > here.stream]
        if later:
            return replace(here, stream=later[0], at=here.since, offset=0)
        assert here.started is not None
        return self._beginning(max(here.since, here.started - OVERLAP))

    def _beginning(self, since: datetime) -> _Cursor:
        return _Cursor(since, None, self._streams[0], since, 0)

    def _placed(self, cursor: _Cursor) -> _Cursor:
        """Return the cursor at a stream that is still there, because an audience may have been deleted."""
        if cursor.stream in self._streams:
            return cursor
        later = [stream for stream in self._streams if stream > cursor.stream]
        if later:
            return replace(cursor, stream=later[0], at=cursor.since, offset=0)
        return self._beginning(cursor.since)

    def _one(self, row: Any, audience: str) -> ChangedRecord:
        if field_of(row, "list_id", str) != audience:
            raise AnswerNotUnderstood("member_of_other_audience")
        record = Record(self._object, f"{audience}/{field_of(row, 'id', str)}")
        return ChangedRecord(record, self._carried(record, row), _instant(field_of(row, "last_changed", str)))


def _parsed(cursor: str) -> _Cursor:
    try:
        since, started, audience, kind, at, offset = cursor.split("|")
        begun = None if not started else _instant(started)
        return _Cursor(_instant(since), begun, (audience, kind), _instant(at), int(offset))
    except ValueError:
        raise AnswerNotUnderstood("cursor") from None


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise AnswerNotUnderstood("instant") from None
    if found.tzinfo is None:
        raise AnswerNotUnderstood("instant")
    return found


def _instant_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
