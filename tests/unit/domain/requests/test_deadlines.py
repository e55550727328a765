"""Golden dates. Every expected instant is written out by hand, in local time with its offset."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from service.domain.requests.deadlines import REGIMES, acknowledge_by, extended_respond_by, respond_by

BERLIN = ZoneInfo("Europe/Berlin")
LONDON = ZoneInfo("Europe/London")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
NUUK = ZoneInfo("America/Nuuk")
HAVANA = ZoneInfo("America/Havana")
BEIRUT = ZoneInfo("Asia/Beirut")
APIA = ZoneInfo("Pacific/Apia")
KIRITIMATI = ZoneInfo("Pacific/Kiritimati")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("regime", "zone", "received", "answer_by", "extended_by"),
    [
        # the corresponding date
        ("gdpr", BERLIN, "2026-03-05T10:00:00+01:00", "2026-04-05T23:59:59+02:00", "2026-06-05T23:59:59+02:00"),
        ("uk_gdpr", LONDON, "2026-09-03T12:00:00+01:00", "2026-10-03T23:59:59+01:00", "2026-12-03T23:59:59+00:00"),
        # month ends; never via the shorter month in between: 31 Jan + 3 months is 30 Apr, not 28
        ("gdpr", BERLIN, "2026-01-31T12:00:00+01:00", "2026-02-28T23:59:59+01:00", "2026-04-30T23:59:59+02:00"),
        ("gdpr", BERLIN, "2026-01-28T12:00:00+01:00", "2026-02-28T23:59:59+01:00", "2026-04-28T23:59:59+02:00"),
        ("gdpr", BERLIN, "2026-08-31T12:00:00+02:00", "2026-09-30T23:59:59+02:00", "2026-11-30T23:59:59+01:00"),
        ("gdpr", BERLIN, "2026-02-28T12:00:00+01:00", "2026-03-28T23:59:59+01:00", "2026-05-28T23:59:59+02:00"),
        # leap days
        ("gdpr", BERLIN, "2028-01-31T12:00:00+01:00", "2028-02-29T23:59:59+01:00", "2028-04-30T23:59:59+02:00"),
        ("gdpr", BERLIN, "2028-02-29T12:00:00+01:00", "2028-03-29T23:59:59+02:00", "2028-05-29T23:59:59+02:00"),
        ("gdpr", BERLIN, "2027-11-30T12:00:00+01:00", "2027-12-30T23:59:59+01:00", "2028-02-29T23:59:59+01:00"),
        # year end
        ("gdpr", BERLIN, "2026-12-31T12:00:00+01:00", "2027-01-31T23:59:59+01:00", "2027-03-31T23:59:59+02:00"),
        ("uk_gdpr", LONDON, "2026-11-30T12:00:00+00:00", "2026-12-30T23:59:59+00:00", "2027-02-28T23:59:59+00:00"),
        # no roll-forward: 4 April 2026 is a Saturday, 25 December 2026 a holiday
        ("gdpr", BERLIN, "2026-03-04T12:00:00+01:00", "2026-04-04T23:59:59+02:00", "2026-06-04T23:59:59+02:00"),
        ("uk_gdpr", LONDON, "2026-11-25T12:00:00+00:00", "2026-12-25T23:59:59+00:00", "2027-02-25T23:59:59+00:00"),
        # days, over leap days and clock changes
        ("ccpa", LOS_ANGELES, "2026-01-01T12:00:00-08:00", "2026-02-15T23:59:59-08:00", "2026-04-01T23:59:59-07:00"),
        ("ccpa", LOS_ANGELES, "2028-01-15T12:00:00-08:00", "2028-02-29T23:59:59-08:00", "2028-04-14T23:59:59-07:00"),
        ("ccpa", LOS_ANGELES, "2026-11-16T12:00:00-08:00", "2026-12-31T23:59:59-08:00", "2027-02-14T23:59:59-08:00"),
        ("ccpa", LOS_ANGELES, "2026-09-17T12:00:00-07:00", "2026-11-01T23:59:59-08:00", "2026-12-16T23:59:59-08:00"),
        # the controller's day: seconds around local midnight
        ("gdpr", BERLIN, "2026-03-05T23:59:59+01:00", "2026-04-05T23:59:59+02:00", "2026-06-05T23:59:59+02:00"),
        ("gdpr", BERLIN, "2026-03-06T00:00:00+01:00", "2026-04-06T23:59:59+02:00", "2026-06-06T23:59:59+02:00"),
        ("gdpr", BERLIN, "2026-03-05T23:30:00+00:00", "2026-04-06T23:59:59+02:00", "2026-06-06T23:59:59+02:00"),
        ("ccpa", LOS_ANGELES, "2026-03-01T07:59:59+00:00", "2026-04-14T23:59:59-07:00", "2026-05-29T23:59:59-07:00"),
        ("ccpa", LOS_ANGELES, "2026-03-01T08:00:00+00:00", "2026-04-15T23:59:59-07:00", "2026-05-30T23:59:59-07:00"),
        ("gdpr", KIRITIMATI, "2026-01-30T10:00:00+00:00", "2026-02-28T23:59:59+14:00", "2026-04-30T23:59:59+14:00"),
        # received in an hour that happens twice (Berlin 25 Oct 2026, Los Angeles 1 Nov 2026)
        ("gdpr", BERLIN, "2026-10-25T02:30:00+02:00", "2026-11-25T23:59:59+01:00", "2027-01-25T23:59:59+01:00"),
        ("gdpr", BERLIN, "2026-10-25T02:30:00+01:00", "2026-11-25T23:59:59+01:00", "2027-01-25T23:59:59+01:00"),
        ("ccpa", LOS_ANGELES, "2026-11-01T01:30:00-07:00", "2026-12-16T23:59:59-08:00", "2027-01-30T23:59:59-08:00"),
        # due on the day of a clock change
        ("gdpr", BERLIN, "2026-02-28T23:30:00+00:00", "2026-04-01T23:59:59+02:00", "2026-06-01T23:59:59+02:00"),
        ("gdpr", BERLIN, "2026-09-25T12:00:00+02:00", "2026-10-25T23:59:59+01:00", "2026-12-25T23:59:59+01:00"),
        ("gdpr", BERLIN, "2027-02-28T12:00:00+01:00", "2027-03-28T23:59:59+02:00", "2027-05-28T23:59:59+02:00"),
        # the day's last hour doesn't exist (Nuuk 27 Mar 2027) or happens twice (Nuuk 30 Oct 2027)
        ("gdpr", NUUK, "2027-02-27T12:00:00-02:00", "2027-03-27T22:59:59-02:00", "2027-05-27T23:59:59-01:00"),
        ("gdpr", NUUK, "2027-09-30T12:00:00-01:00", "2027-10-30T23:59:59-02:00", "2027-12-30T23:59:59-02:00"),
        # the next midnight doesn't exist (Beirut 28 Mar 2027) or happens twice (Havana 7 Nov 2027: at 01:00 back to 0)
        ("gdpr", BEIRUT, "2027-02-27T12:00:00+02:00", "2027-03-27T23:59:59+02:00", "2027-05-27T23:59:59+03:00"),
        ("gdpr", HAVANA, "2027-10-06T12:00:00-04:00", "2027-11-06T23:59:59-04:00", "2028-01-06T23:59:59-05:00"),
        # the whole day doesn't exist (Apia left out 30 Dec 2011)
        ("gdpr", APIA, "2011-11-30T12:00:00-10:00", "2011-12-29T23:59:59-10:00", "2012-02-29T23:59:59+14:00"),
    ],
)
def test_golden_dates(regime: str, zone: ZoneInfo, received: str, answer_by: str, extended_by: str) -> None:
    assert respond_by(REGIMES[regime], at(received), zone) == at(answer_by)
    assert extended_respond_by(REGIMES[regime], at(received), zone) == at(extended_by)


@pytest.mark.parametrize(
    ("received", "holidays", "expected"),
    [
        ("2026-03-02T12:00:00-08:00", set(), "2026-03-16T23:59:59-07:00"),  # Monday, over two weekends and the change
        ("2026-03-06T12:00:00-08:00", set(), "2026-03-20T23:59:59-07:00"),  # Friday
        ("2026-03-07T12:00:00-08:00", set(), "2026-03-20T23:59:59-07:00"),  # Saturday
        ("2026-03-08T12:00:00-07:00", set(), "2026-03-20T23:59:59-07:00"),  # Sunday
        ("2026-12-21T12:00:00-08:00", set(), "2027-01-04T23:59:59-08:00"),
        ("2026-12-21T12:00:00-08:00", {date(2026, 12, 25), date(2027, 1, 1)}, "2027-01-06T23:59:59-08:00"),
        ("2026-12-21T12:00:00-08:00", {date(2026, 12, 26)}, "2027-01-04T23:59:59-08:00"),  # a holiday on a Saturday
    ],
)
def test_acknowledgement_in_business_days(received: str, holidays: set[date], expected: str) -> None:
    assert acknowledge_by(REGIMES["ccpa"], at(received), LOS_ANGELES, frozenset(holidays)) == at(expected)


def test_no_acknowledgement_where_the_law_asks_for_none() -> None:
    for code in ("gdpr", "uk_gdpr"):
        assert acknowledge_by(REGIMES[code], at("2026-03-02T12:00:00+00:00"), BERLIN) is None


def test_deadlines_are_utc_so_that_they_compare_as_instants() -> None:
    deadline = respond_by(REGIMES["gdpr"], at("2026-09-25T12:00:00+02:00"), BERLIN)
    assert deadline.tzinfo is UTC
    assert deadline.astimezone(BERLIN).isoformat() == "2026-10-25T23:59:59+01:00"


def test_only_the_instant_of_receipt_matters_not_how_it_is_written() -> None:
    received = at("2026-03-05T23:30:00+00:00")
    zones = (UTC, BERLIN, LOS_ANGELES, timezone(timedelta(hours=5, minutes=45)))
    assert len({respond_by(REGIMES["gdpr"], received.astimezone(zone), BERLIN) for zone in zones}) == 1


def test_naive_instants_are_refused() -> None:
    naive = datetime(2026, 3, 5, 12)  # noqa: DTZ001 - that is the point
    for deadline in (respond_by, extended_respond_by, acknowledge_by):
        with pytest.raises(ValueError, match="aware"):
            deadline(REGIMES["ccpa"], naive, BERLIN)


def test_the_table_names_its_sources_and_cannot_be_changed() -> None:
    assert set(REGIMES) == {"gdpr", "uk_gdpr", "ccpa"}
    assert all(code == regime.code and regime.source for code, regime in REGIMES.items())
    with pytest.raises(TypeError):
        REGIMES["gdpr"] = REGIMES["ccpa"]  # type: ignore[index]  # that it can't be done is what is tested
