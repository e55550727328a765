"""Periods on the command line: days and instants, and a reason for what is neither."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from service.cli.audit.exports import parse_instant
from service.cli.client import Unusable

TOKYO = ZoneInfo("Asia/Tokyo")


def test_a_day_begins_in_the_controllers_zone() -> None:
    assert parse_instant("2026-01-31", TOKYO) == datetime(2026, 1, 30, 15, tzinfo=UTC)
    assert parse_instant("2026-01-31T12:00:00+01:00", TOKYO) == datetime(2026, 1, 31, 11, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+01:00"])
def test_an_instant_outside_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="0001-01-02"):
        parse_instant(text, TOKYO)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-01-31T12:00:00"])
def test_no_instant_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match=r"days|offset"):
        parse_instant(text, TOKYO)
