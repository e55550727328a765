"""The parts of every report: title, law, columns, rows, notes and charts; and its period.

Decides the spelling of periods, which requests are in one, and the form of numbers that aren't whole. Doesn't decide
the counts of a report (one module each) or its presentation (rendering).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from statistics import median
from zoneinfo import ZoneInfo

from service.domain.reports.cases import Case, Register
from service.domain.reports.csv_text import Cell

_YEAR = re.compile(r"(\d{4})", re.ASCII)
_QUARTER = re.compile(r"(\d{4})-Q([1-4])", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAYS = re.compile(r"(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})", re.ASCII)


NOT_COVERED_NOTE = "`not covered` is what the connector of a system declared last that no erasure there reaches."


class NoPeriod(ValueError):  # noqa: N818 - says what is true of the text
    """The text names no period: YYYY, YYYY-Qn, YYYY-MM or YYYY-MM-DD..YYYY-MM-DD (both days included)."""


@dataclass(frozen=True)
class Period:
    """The days from the first to the last, both included, in the controller's time zone."""

    first_day: date
    last_day: date
    zone: ZoneInfo

    def day_of(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def holds(self, at: datetime) -> bool:
        return self.first_day <= self.day_of(at) <= self.last_day


def parse_period(text: str, zone: ZoneInfo) -> Period:
    """Return the period that the text names. Raises NoPeriod."""
    try:
        if found := _DAYS.fullmatch(text):
            first, last = date.fromisoformat(found[1]), date.fromisoformat(found[2])
        elif found := _YEAR.fullmatch(text):
            first, last = date(int(text), 1, 1), date(int(text), 12, 31)
        elif found := _QUARTER.fullmatch(text):
            first, last = _months(int(found[1]), int(found[2]) * 3 - 2, 3)
        elif found := _MONTH.fullmatch(text):
            first, last = _months(int(found[1]), int(found[2]), 1)
        else:
            raise NoPeriod
    except (ValueError, OverflowError):
        raise NoPeriod(NoPeriod.__doc__) from None
    if first > last:
        raise NoPeriod(NoPeriod.__doc__)
    return Period(first, last, zone)


def _months(year: int, month: int, count: int) -> tuple[date, date]:
    first = date(year, month, 1)
    after = date(year + (month + count - 1) // 12, (month + count - 1) % 12 + 1, 1)
    return first, after - timedelta(days=1)


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: its label, its length, and its number as text."""

    label: str
    length: Fraction
    written: str


@dataclass(frozen=True)
class Chart:
    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class MonthSeries:
    """Counts per month: `months` as YYYY-MM, and for each line one count per month."""

    title: str
    months: tuple[str, ...]
    lines: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Report:
    """A computed report. `columns` has the heading of each member of a row, in the order of the page.

    `headed_by`: on the HTML page each row becomes a column under the values of these columns, because a report of few
    rows and many columns fits no paper otherwise. JSON and CSV have the rows.
    """

    name: str
    title: str
    basis: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Cell]]
    notes: Sequence[str] = field(default_factory=list)
    charts: Sequence[Chart] = field(default_factory=list)
    series: Sequence[MonthSeries] = field(default_factory=list)
    headed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """The input of every report: the log's cases, their period of receipt, and one law or None for all."""

    register: Register
    period: Period
    regime: str | None = None

    def cases(self) -> list[Case]:
        """Return the cases in question, sorted by time of receipt and id."""
        asked = [
            case
            for case in self.register.cases.values()
            if self.period.holds(case.received_at) and self.regime in (None, case.regime)
        ]
        return sorted(asked, key=lambda case: (case.received_at, case.request_id))

    def days_between(self, earlier: datetime, later: datetime) -> int:
        """Return the number of calendar days in the controller's time zone; 0 within one day."""
        return (self.period.day_of(later) - self.period.day_of(earlier)).days

    def day_text(self, at: datetime | None) -> str | None:
        return None if at is None else self.period.day_of(at).isoformat()


def months_between(first: date, last: date) -> tuple[str, ...]:
    """Return all months from the one of `first` to the one of `last`, as YYYY-MM."""
    begin, end = first.year * 12 + first.month - 1, last.year * 12 + last.month - 1
    return tuple(f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(begin, end + 1))


def counted(title: str, counts: Mapping[str, int]) -> Chart:
    """Return a chart of whole numbers."""
    return Chart(title, [Bar(label, Fraction(count), str(count)) for label, count in counts.items()])


def median_text(values: Sequence[int | Fraction]) -> str | None:
    """Return the median with two decimals; None for no values."""
    return two_decimals(Fraction(median(map(Fraction, values)))) if values else None


def mean_text(values: Sequence[int | Fraction]) -> str | None:
    """Return the mean with two decimals; None for no values."""
    return two_decimals(sum(map(Fraction, values), Fraction(0)) / len(values)) if values else None


def two_decimals(value: Fraction) -> str:
    """Return a number of zero or more as text, rounded half to even: `12.50`.

    Computed from a fraction, because the last digit of a float may be inexact.
    """
    hundredths = round(value * 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}"
