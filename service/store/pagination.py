"""Where a page of a list ended: the place behind its last row, newest first.

By place and not by number, so that rows which arrive meanwhile neither move a page nor repeat a row.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.domain.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})\.([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True)
class Place:
    """A row's place in a list: when it was made, and its id."""

    created_at: datetime
    id: UUID


def cursor_behind(created_at: datetime, row_id: UUID) -> str:
    """The cursor of the page that begins behind this row."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds}.{row_id.hex}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Place:
    """Raises Invalid for a cursor that isn't one of ours."""
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        match = _CURSOR.fullmatch(decoded)
        if match is not None:
            return Place(_EPOCH + timedelta(microseconds=int(match[1])), UUID(match[2]))
    except (binascii.Error, ValueError, OverflowError):
        pass
    raise Invalid("not a cursor of this list", field="query/cursor") from None
