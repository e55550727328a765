"""Instants from outside: in UTC, and inside the calendar of every time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.audit.schema import instant_text
from service.domain.instants import EARLIEST, LATEST, OutsideTheCalendar, in_utc

_OFFSETS = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.datetimes(timezones=_OFFSETS), there=_OFFSETS)
def test_an_accepted_instant_exists_in_every_time_zone(at: datetime, there: timezone) -> None:
    try:
        taken = in_utc(at)
    except OutsideTheCalendar:
        return
    assert taken == at
    assert taken.tzinfo is UTC
    assert instant_text(taken).endswith("Z")
    assert taken.astimezone(there) == at


@pytest.mark.parametrize("at", [EARLIEST, LATEST])
def test_the_bounds_are_accepted_and_later_instants_are_not(at: datetime) -> None:
    assert in_utc(at) == at
    beyond = at + timedelta(microseconds=1 if at is LATEST else -1)
    with pytest.raises(OutsideTheCalendar):
        in_utc(beyond)


def test_an_instant_without_an_offset_is_no_instant() -> None:
    with pytest.raises(ValueError, match="time zone"):
        in_utc(datetime(2026, 1, 1))  # noqa: DTZ001 - what must be refused
