"""Users that were created or changed since an instant, with all their identities.

Decides how far a page reaches and where the next one begins. Pages go by time (`start_time`, `end_time`) and not by
Zendesk's cursors, because those hold a user's id. The export shows a user with the primary address only, so each page's
users are read again with their identities, 99 in a call. Deleted users are left out.

Sources: Incremental Exports, developer.zendesk.com/api-reference/ticketing/ticket-management/incremental_exports/: the
most recent minute isn't exported, 10 calls a minute, `end_time` is the most recent time of the page and the next page's
`start_time` (read 2026-12-01). Unconfirmed: that users of one second are never divided over two pages; that a change of
an identity raises the user's `updated_at`; that `end_time` is null without users; how late a change may appear (the
overlap assumes five minutes).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.kit.calls import VALUE, Call, instant_of, text_of
from connectors.base.kit.look import Row
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import ChangedRecord, ChangePage, Identifier, Record
from connectors.zendesk.account import ZendeskAccount

OVERLAP = timedelta(minutes=5)
_EXPORT = Call("GET", "/api/v2/incremental/users", params={"start_time": VALUE})


def read_changes(
    http: VendorClient,
    account: ZendeskAccount,
    carried: Callable[[Record, Row], tuple[Identifier, ...]],
    object_name: str,
    cursor: str | None,
    begin_at: datetime,
) -> ChangePage:
    """Return one page of the export: about 1,000 users, more only where they have one second in common."""
    start = int((begin_at - OVERLAP).timestamp()) if cursor is None else _seconds(cursor)
    reply = _EXPORT.send(http, str(start))
    rows = reply.field("users", list)
    changed_at = {
        text_of(row.get("id"), "id"): instant_of(row.get("updated_at"), "updated_at") for row in rows if _is_active(row)
    }
    users = account.show_users(changed_at)
    records = []
    for user_id, user in users.items():
        if user["active"]:
            record = Record(object_name, user_id)
            records.append(ChangedRecord(record, carried(record, user), changed_at[user_id]))
    end = reply.body.get("end_time")
    if end is None and not rows:
        end = start
    if not isinstance(end, int) or isinstance(end, bool) or end < start:
        raise AnswerNotUnderstood("field_missing:end_time")
    if not reply.field("end_of_stream", bool):
        # A second with more users than a page was returned as a whole, so that the next page begins after it.
        return ChangePage(tuple(records), str(max(end, start + 1)), more=True)
    return ChangePage(tuple(records), str(max(start, end - int(OVERLAP.total_seconds()))), more=False)


def _is_active(row: object) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("active"), bool):
        raise AnswerNotUnderstood("field_missing:active")
    return bool(row["active"])


def _seconds(cursor: str) -> int:
    try:
        found = int(cursor)
        datetime.fromtimestamp(found, UTC)
    except (ValueError, OverflowError, OSError):
        raise AnswerNotUnderstood("cursor") from None
    return found
