"""A vendor's headers about its limits: Retry-After, and the calls that are left in its window.

Decides how the headers are read and which errors mean that the whole system wants to be left alone. Forms read:
Retry-After as seconds or a date (RFC 9110 §10.2.3); X-RateLimit-*, X-Rate-Limit-* and RateLimit-* (the drafts of
draft-ietf-httpapi-ratelimit-headers up to 07) with a reset in seconds, as an epoch (Okta), in milliseconds of it, or as
a date (Segment); -Total for -Limit (Freshdesk). Sources: facts of each vendor's documentation, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connectors.base.errors import ConnectorError, TemporarilyUnavailable

LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0

RATE_GATE = "rate_gate"
"""The code of a call that our own gate didn't let through: nothing was sent, and it counts as no try."""

UNSAID_SECONDS = 2.0
"""How long a system is left alone that refuses for its limit and doesn't say until when."""

_PREFIXES = ("x-ratelimit", "ratelimit", "x-rate-limit")
_RATE_CODES = frozenset({"rate_limited", "throttled", "daily_limit", "daily_call_budget"})
_EPOCH = 1_000_000_000
_EPOCH_MILLISECONDS = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class VendorWord:
    """The vendor's rate limit.

    `remaining` calls are left until the vendor's window ends in `resets_in_seconds`; of `limit`, if the vendor names
    it.
    """

    remaining: int
    resets_in_seconds: float
    limit: int | None = None


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Retry-After in seconds, from either of its forms; None if absent or unreadable."""
    text = headers.get("retry-after")
    return None if text is None else _seconds(text.strip(), now or datetime.now(UTC), is_epoch=False)


def vendor_word(headers: Mapping[str, str], now: datetime | None = None) -> VendorWord | None:
    """Read the calls that are left from headers with lower-case names; None unless they say until when."""
    for prefix in _PREFIXES:
        remaining, reset = headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset")
        if remaining is None or reset is None:
            continue
        seconds = _seconds(reset.strip(), now or datetime.now(UTC), is_epoch=True)
        left = _whole(remaining)
        if left is None or seconds is None:
            return None
        return VendorWord(left, seconds, _whole(headers.get(f"{prefix}-limit") or headers.get(f"{prefix}-total") or ""))
    return None


def shut_seconds(error: ConnectorError) -> float | None:
    """Return the seconds without calls after this error; None if it doesn't concern the whole system.

    Its limit was reached (429, or the connector's own code for it), or it answered 503 and named a time.
    """
    if not isinstance(error, TemporarilyUnavailable):
        return None
    if error.status == 429 or error.code in _RATE_CODES:
        return UNSAID_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
    return error.retry_after_seconds if error.status == 503 else None


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _seconds(text: str, now: datetime, *, is_epoch: bool) -> float | None:
    """From now, never negative, never longer than a day."""
    try:
        number = float(text) if text.replace(".", "", 1).isdecimal() else None
        if number is None:
            at = parsedate_to_datetime(text)
            number = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
        elif is_epoch and number >= _EPOCH:
            number = (number / 1000 if number >= _EPOCH_MILLISECONDS else number) - now.timestamp()
    except ValueError:
        return None
    return min(max(number, 0.0), LONGEST_RETRY_AFTER_SECONDS)
