"""What holds for every deadline, in every time zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.requests.deadlines import REGIMES, Regime, acknowledge_by, extended_respond_by, respond_by

ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
RECEIVED = st.datetimes(datetime(2020, 1, 1), datetime(2045, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
REGIME = st.sampled_from(list(REGIMES.values()))
CCPA = REGIMES["ccpa"]


@given(REGIME, RECEIVED, ZONES)
@settings(max_examples=500)
def test_a_deadline_is_the_last_second_of_a_local_day(regime: Regime, received_at: datetime, zone: ZoneInfo) -> None:
    for deadline in (respond_by(regime, received_at, zone), extended_respond_by(regime, received_at, zone)):
        local = deadline.astimezone(zone)
        after = (deadline + timedelta(seconds=1)).astimezone(zone)
        assert deadline.tzinfo is UTC
        assert after.date() == local.date() + timedelta(days=1)


@given(REGIME, RECEIVED, ZONES)
@settings(max_examples=500)
def test_the_law_is_never_outrun(regime: Regime, received_at: datetime, zone: ZoneInfo) -> None:
    day = received_at.astimezone(zone).date()
    first = respond_by(regime, received_at, zone).astimezone(zone).date()
    extended = extended_respond_by(regime, received_at, zone).astimezone(zone).date()
    if regime is CCPA:
        assert ((first - day).days, (extended - day).days) == (45, 90)
    else:
        assert months_apart(day, first) == 1
        assert months_apart(day, extended) == 3
        assert first.day == day.day or (first.day < day.day and (first + timedelta(days=1)).day == 1)
        assert extended.day == day.day or (extended.day < day.day and (extended + timedelta(days=1)).day == 1)


def months_apart(one: date, other: date) -> int:
    return (other.year - one.year) * 12 + other.month - one.month


@given(REGIME, RECEIVED, st.timedeltas(timedelta(0), timedelta(days=400)), ZONES)
@settings(max_examples=500)
def test_who_comes_later_is_never_due_earlier(
    regime: Regime, received_at: datetime, later: timedelta, zone: ZoneInfo
) -> None:
    for deadline in (respond_by, extended_respond_by, acknowledge_by):
        earlier_due, later_due = deadline(regime, received_at, zone), deadline(regime, received_at + later, zone)
        assert earlier_due is None or (later_due is not None and earlier_due <= later_due)


@given(RECEIVED, ZONES, st.frozensets(st.dates(date(2020, 1, 1), date(2046, 2, 1)), max_size=30))
@settings(max_examples=300)
def test_holidays_only_ever_give_more_time(received_at: datetime, zone: ZoneInfo, holidays: frozenset[date]) -> None:
    without, with_holidays = (acknowledge_by(CCPA, received_at, zone, days) for days in (frozenset(), holidays))
    assert without is not None
    assert with_holidays is not None
    assert without <= with_holidays
    day = with_holidays.astimezone(zone).date()
    assert day.weekday() < 5
    assert day not in holidays
