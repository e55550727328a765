"""Decides by when the law requires an answer. Doesn't decide urgency or the effect of a late answer.

Every deadline is the last second of a day in the controller's time zone, counted from the day on which the request was
received there. A deadline on a weekend or a holiday isn't moved: EU law would allow that (Regulation (EEC, Euratom) No
1182/71, Art. 3(4): a period that ends on a holiday, Sunday or Saturday ends with the following working day), but
holidays differ by place and an earlier answer is always lawful. For the same reason the clock isn't stopped while the
controller waits for the requester; the UK's Data (Use and Access) Act 2025 would allow that (unconfirmed: its text was
not read).
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from service.domain.suppression.scopes import DO_NOT_SELL, DO_NOT_SHARE, ERASED, LIMIT_SENSITIVE


@dataclass(frozen=True, slots=True)
class Months:
    """A period until the same date in a later month, or its last day if it has no such date."""

    months: int

    def last_day(self, received_on: date) -> date:
        """Return the day on which a period that began on `received_on` ends."""
        years, month_index = divmod(received_on.month - 1 + self.months, 12)
        year, month = received_on.year + years, month_index + 1
        return date(year, month, min(received_on.day, monthrange(year, month)[1]))


@dataclass(frozen=True, slots=True)
class Days:
    """A period of calendar days; the day of receipt isn't counted, the last day is."""

    days: int

    def last_day(self, received_on: date) -> date:
        """Return the day on which a period that began on `received_on` ends."""
        return received_on + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """A period of days from Monday to Friday without holidays; the day of receipt isn't counted."""

    days: int

    def last_day(self, received_on: date, holidays: frozenset[date] = frozenset()) -> date:
        """Return the day on which a period that began on `received_on` ends."""
        day, counted = received_on, 0
        while counted < self.days:
            day += timedelta(days=1)
            counted += day.weekday() < 5 and day not in holidays
        return day


@dataclass(frozen=True, slots=True)
class Regime:
    """One law's deadlines, all counted from receipt; one extension, up to `extended_to`, is possible.

    `opt_out_within`: a shorter time for opt-outs of sale, sharing and use of sensitive data, which takes no extension
    and needs no confirmation of receipt; None where the law knows none.
    """

    code: str
    respond_within: Months | Days | BusinessDays
    extended_to: Months | Days | BusinessDays
    acknowledge_within: BusinessDays | None
    source: str
    opt_out_within: BusinessDays | None = None


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
        "reading of 'after receipt', unconfirmed: the section also says that the period begins on that day. Opt-outs: "
        "11 CCR § 7026(f) and § 7027(g), as soon as feasibly possible, no later than 15 business days from receipt (as "
        "summed up in the project's notes on law, read 2026-12-01)",
        opt_out_within=BusinessDays(15),
    ),
)

REGIMES: Mapping[str, Regime] = MappingProxyType({regime.code: regime for regime in _REGIMES})
"""All laws with known deadlines, by code. Of the sources only 11 CCR § 7021 was read again (2026-11-22)."""


_OPT_OUTS = frozenset({DO_NOT_SELL, DO_NOT_SHARE, LIMIT_SENSITIVE})


def regime_of(code: str, scopes: Collection[str]) -> Regime:
    """Return the deadlines of a request under a law. No opt-out has an extension."""
    regime = REGIMES[code]
    if ERASED in scopes:
        return regime
    if regime.opt_out_within is None or not _OPT_OUTS & frozenset(scopes):
        # Nothing about a person has to be searched and weighed to stop: the extension isn't used.
        return replace(regime, extended_to=regime.respond_within)
    within = regime.opt_out_within
    return replace(regime, respond_within=within, extended_to=within, acknowledge_within=None)


def respond_by(regime: Regime, received_at: datetime, zone: ZoneInfo) -> datetime:
    """Return the last second, in UTC, of the time to answer the request. `zone` is the controller's."""
    return _last_second(regime.respond_within.last_day(_day_received(received_at, zone)), zone)


def extended_respond_by(regime: Regime, received_at: datetime, zone: ZoneInfo) -> datetime:
    """Return the extended deadline, counted from receipt, not from the first deadline."""
    return _last_second(regime.extended_to.last_day(_day_received(received_at, zone)), zone)


def acknowledge_by(
    regime: Regime, received_at: datetime, zone: ZoneInfo, holidays: frozenset[date] = frozenset()
) -> datetime | None:
    """Return the last second, in UTC, to confirm receipt; None if the law requires no confirmation.

    Without `holidays` every Monday to Friday counts as a business day, so the result may be too early, never too late.
    """
    if regime.acknowledge_within is None:
        return None
    return _last_second(regime.acknowledge_within.last_day(_day_received(received_at, zone), holidays), zone)


def _day_received(received_at: datetime, zone: ZoneInfo) -> date:
    if received_at.utcoffset() is None:
        raise ValueError("received_at must be timezone-aware")
    return received_at.astimezone(zone).date()


def _last_second(day: date, zone: ZoneInfo) -> datetime:
    # One second before the next day begins, not "23:59:59", because a change of the clocks may skip or repeat that hour
    # (America/Nuuk). In UTC, because Python compares datetimes of one zone by their wall clocks, not as instants.
    next_day = datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone)
    return next_day.astimezone(UTC) - timedelta(seconds=1)
