"""What vendors say about their limits, in each of the forms that they say it in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connectors.base.errors import CredentialsRefused, TemporarilyUnavailable
from connectors.base.pacing import LONGEST_RETRY_AFTER_SECONDS, VendorWord, retry_after_seconds, shut_seconds
from connectors.base.pacing import vendor_word as read

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
IN_30 = NOW + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "30", "x-ratelimit-limit": "100"}, (7, 30.0, 100)),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, (0, 30.0, None)),
        ({"x-rate-limit-remaining": "3", "x-rate-limit-reset": str(int(IN_30.timestamp()))}, (3, 30.0, None)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": str(int(IN_30.timestamp() * 1000))}, (3, 30.0, None)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": format_datetime(IN_30, usegmt=True)}, (3, 30.0, None)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "30", "x-ratelimit-total": "50"}, (3, 30.0, 50)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": str(int(NOW.timestamp()) - 5)}, (3, 0.0, None)),
    ],
)
def test_headers(headers: dict[str, str], word: tuple[int, float, int | None]) -> None:
    assert read(headers, NOW) == VendorWord(*word)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "7"},
        {"x-ratelimit-remaining": "many", "x-ratelimit-reset": "30"},
        {"x-ratelimit-remaining": "-1", "x-ratelimit-reset": "30"},
        {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "soon"},
        {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "inf"},
    ],
)
def test_what_cannot_be_read_says_nothing(headers: dict[str, str]) -> None:
    assert read(headers, NOW) is None


def test_no_word_keeps_a_system_shut_for_longer_than_a_day() -> None:
    word = read({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "999999999"}, NOW)
    assert word is not None
    assert word.resets_in_seconds == LONGEST_RETRY_AFTER_SECONDS
    assert retry_after_seconds({"retry-after": "999999999"}, NOW) == LONGEST_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TemporarilyUnavailable("rate_limited", status=429, retry_after_seconds=7), 7),
        (TemporarilyUnavailable("own_name", status=429), 2.0),
        # A vendor that answers 200 and says it in the body (Marketo's 606): the connector names it.
        (TemporarilyUnavailable("rate_limited", retry_after_seconds=20), 20),
        (TemporarilyUnavailable("daily_limit", retry_after_seconds=3600), 3600),
        (TemporarilyUnavailable("vendor_unavailable", status=503, retry_after_seconds=60), 60),
        (TemporarilyUnavailable("vendor_unavailable", status=503), None),
        (TemporarilyUnavailable("row_locked", retry_after_seconds=10), None),
        (CredentialsRefused("forbidden", status=403), None),
    ],
)
def test_which_errors_shut_a_whole_system(error: TemporarilyUnavailable, seconds: float | None) -> None:
    assert shut_seconds(error) == seconds
