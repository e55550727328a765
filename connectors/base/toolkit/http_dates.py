"""Read the instant of an HTTP date, such as a vendor's clock in the header `Date`."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime


def parse_http_date(text: str | None) -> datetime | None:
    """Return the instant (RFC 9110, section 5.6.7); None without one that can be read."""
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
