"""Decides by when the law wants an answer. Not what is urgent, nor what happens when it is late.

Every deadline is the last second of a day in the controller's time zone, counted from the day on which the request was
received there. It is never moved over a weekend or a holiday: EU law would allow it (Regulation (EEC, Euratom) No
1182/71, Art. 3(4): a period that ends on a holiday, Sunday or Saturday ends with the following working day), but
holidays differ by place and answering earlier is always lawful. For the same reason no clock is stopped while we wait
for the requester; the UK's Data (Use and Access) Act 2025 would allow that (unconfirmed: its text was not read).
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Months:
    """Until the same date in a later month, or that month's last day when it has no such date."""

    months: int

    def last_day(self, received_on: date) -> date:
        """The day on which a period that began on `received_on` ends."""
        years, month_index = divmod(received_on.month - 1 + self.months, 12)
        year, month = received_on.year + years, month_index + 1
        return date(year, month, min(received_on.day, monthrange(year, month)[1]))


@dataclass(frozen=True, slots=True)
class Days:
    """Calendar days; the day of receipt isn't counted, the last day is."""

    days: int

    def last_day(self, received_on: date) -> date:
        """The day on which a period that began on `received_on` ends."""
        return received_on + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """Monday to Friday without the given holidays; the day of receipt isn't counted, the last day is."""

    days: int

    def last_day(self, received_on: date, holidays: frozenset[date]) -> date:
        """The day on which a period that began on `received_on` ends."""
        day, counted = received_on, 0
        while counted < self.days:
            day += timedelta(days=1)
            counted += day.weekday() < 5 and day not in holidays
        return day


@dataclass(frozen=True, slots=True)
class Regime:
    """One law's clock. `respond_within` and `extended_to` both count from receipt; extending is possible once."""

    code: str
    respond_within: Months | Days
    extended_to: Months | Days
    acknowledge_within: BusinessDays | None
    source: str


_REGIMES = (
    Regime(
        code="gdpr",
        respond_within=Months(1),
        extended_to=Months(3),
        acknowledge_within=None,
        source="Regulation (EU) 2016/679, Art. 12(3): one month of receipt, by two further months where necessary; "
        "counted by Regulation (EEC, Euratom) No 1182/71, Art. 3(2)(c)",
    ),
    Regime(
        code="uk_gdpr",
        respond_within=Months(1),
        extended_to=Months(3),
        acknowledge_within=None,
        source="UK GDPR, Art. 12(3); counted as the ICO's guidance says: until the corresponding calendar date of the "
        "next month, or the last day of that month",
    ),
    Regime(
        code="ccpa",
        respond_within=Days(45),
        extended_to=Days(90),
        acknowledge_within=BusinessDays(10),
        source="11 CCR § 7021(a): confirm receipt no later than 10 business days after receiving; § 7021(b): respond "
        "no later than 45 calendar days after receipt, regardless of the time to verify, up to 90 from the day of "
        "receipt (a copy of the section was read 2026-11-22). That the day of receipt itself isn't counted is our "
        "reading of 'after receipt', unconfirmed: the section also says that the period begins on that day",
    ),
)

REGIMES: Mapping[str, Regime] = MappingProxyType({regime.code: regime for regime in _REGIMES})
"""Every law whose clock we know, by code. Of the sources only 11 CCR § 7021 was read again (2026-11-22)."""


def respond_by(regime: Regime, received_at: datetime, zone: ZoneInfo) -> datetime:
    """The last second, in UTC, in which the request can be answered in time. `zone` is the controller's."""
    return _last_second(regime.respond_within.last_day(_day_received(received_at, zone)), zone)


def extended_respond_by(regime: Regime, received_at: datetime, zone: ZoneInfo) -> datetime:
    """The same after the one extension that the law allows; it counts from receipt, not from the first deadline."""
    return _last_second(regime.extended_to.last_day(_day_received(received_at, zone)), zone)


def acknowledge_by(
    regime: Regime, received_at: datetime, zone: ZoneInfo, holidays: frozenset[date] = frozenset()
) -> datetime | None:
    """The last second, in UTC, to confirm receipt; None where the law asks for no confirmation.

    Without `holidays` every Monday to Friday counts as a business day: too early rather than too late.
    """
    if regime.acknowledge_within is None:
        return None
    return _last_second(regime.acknowledge_within.last_day(_day_received(received_at, zone), holidays), zone)


def _day_received(received_at: datetime, zone: ZoneInfo) -> date:
    if received_at.utcoffset() is None:
        raise ValueError("received_at must be timezone-aware")
    return received_at.astimezone(zone).date()


def _last_second(day: date, zone: ZoneInfo) -> datetime:
    # One second before the next day begins, and not "23:59:59": a change of the clocks may skip or repeat that hour
    # (America/Nuuk). In UTC, since datetimes of one zone are compared by their wall clocks, not as instants.
    next_day = datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)
    return next_day.astimezone(UTC) - timedelta(seconds=1)
