"""The yearly metrics of 11 CCR § 7102: requests received, complied with, denied, and days to response.

The section requires, per kind of request: received; complied with in whole or in part; denied; median or mean number of
days to a substantive response; optionally denials split into unverifiable, not a consumer, exempt, other (facts read
2026-11-22). A request counts in the calendar year in which it was received.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from service.domain.reports.cases import Case
from service.domain.reports.csv_text import Cell
from service.domain.reports.report import (
    Bar,
    Chart,
    MonthSeries,
    Question,
    Report,
    mean_text,
    median_text,
    months_between,
)
from service.domain.reports.response import (
    COMPLIED,
    DENIED,
    FINISHING,
    OPEN,
    PART,
    UNVERIFIED,
    WHOLE,
    WITHDRAWN,
    nature_of,
)
from service.domain.requests.states import DenialReason

NAME = "metrics"
EVERY_KIND = "all"
_GROUPS = {
    DenialReason.INSUF_VERIFICATION: "denied_unverifiable",
    DenialReason.NO_MATCH: "denied_not_a_consumer",
    DenialReason.OUTSIDE_JURISDICTION: "denied_not_a_consumer",
    DenialReason.CLAIM_NOT_COVERED: "denied_exempt",
}
_SPLIT = ("denied_unverifiable", "denied_not_a_consumer", "denied_exempt", "denied_other")


def report_metrics(question: Question) -> Report:
    """Return a row per year and kind, and one per year over all kinds."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in question.cases():
        if case.reappearance_of is not None:
            continue
        year = f"{question.period.day_of(case.received_at).year:04d}"
        for kind in (case.kind, EVERY_KIND):
            groups[(year, kind)].append(case)
    # The sum over all kinds comes after the kinds.
    order = sorted(groups, key=lambda group: (group[0], group[1] == EVERY_KIND, group[1]))
    rows = [{"year": year, "kind": kind, **_counts(question, groups[(year, kind)])} for year, kind in order]
    return Report(
        NAME,
        "Metrics of requests",
        "11 CCR § 7102(a)",
        {
            "year": "calendar year",
            "kind": "kind of request",
            "received": "received",
            "complied": "complied with in whole or in part",
            "complied_in_whole": "in whole",
            "complied_in_part": "in part",
            "complied_finishing": "answered, a system still finishing",
            "denied": "denied",
            **{name: f"denied: {name.removeprefix('denied_').replace('_', ' ')}" for name in _SPLIT},
            **{f"reason_{reason}": f"reason {reason}" for reason in (*DenialReason, "never_verified")},
            "withdrawn": "withdrawn by the requester",
            "open": "not answered yet",
            "median_days": "median days to response",
            "mean_days": "mean days to response",
        },
        rows,
        [
            "Days are calendar days from receipt to the answer that complied or denied.",
            "Requests that were never verified count as denied (unverifiable); nothing was answered, so no days count.",
            "`reason_...` splits `denied` by the recorded reason.",
            "Requests that the suppression sync opened for erased people who re-appeared aren't counted.",
        ],
        _charts(rows),
        _by_month(question),
        headed_by=("year", "kind"),
    )


def _by_month(question: Question) -> list[MonthSeries]:
    """Return the counts by month of receipt, from the first month with a request to the last."""
    cases = [case for case in question.cases() if case.reappearance_of is None]
    if not cases:
        return []
    days = [question.period.day_of(case.received_at) for case in cases]
    months = months_between(min(days), max(days))
    lines = {name: dict.fromkeys(months, 0) for name in ("received", "complied with", "denied")}
    for case, day in zip(cases, days, strict=True):
        month, nature = f"{day:%Y-%m}", nature_of(question.register, case)
        lines["received"][month] += 1
        lines["complied with"][month] += nature in COMPLIED
        lines["denied"][month] += nature in (DENIED, UNVERIFIED)
    counts = {name: tuple(line.values()) for name, line in lines.items()}
    return [MonthSeries("Requests by month of receipt", months, counts)]


def _counts(question: Question, cases: Sequence[Case]) -> dict[str, Cell]:
    natures = [(nature_of(question.register, case), case) for case in cases]
    found = [nature for nature, _ in natures]
    reasons = [case.denial_reason or "other" for nature, case in natures if nature == DENIED]
    reasons += ["never_verified"] * found.count(UNVERIFIED)
    split = [_group(reason) for reason in reasons]
    days = [
        question.days_between(case.received_at, case.answered_at)
        for nature, case in natures
        if case.answered_at is not None and (nature in COMPLIED or nature == DENIED)
    ]
    return {
        "received": len(cases),
        "complied": sum(nature in COMPLIED for nature in found),
        "complied_in_whole": found.count(WHOLE),
        "complied_in_part": found.count(PART),
        "complied_finishing": found.count(FINISHING),
        "denied": len(reasons),
        **{name: split.count(name) for name in _SPLIT},
        **{f"reason_{reason}": reasons.count(reason) for reason in (*DenialReason, "never_verified")},
        "withdrawn": found.count(WITHDRAWN),
        "open": found.count(OPEN),
        "median_days": median_text(days),
        "mean_days": mean_text(days),
    }


def _group(reason: str) -> str:
    if reason == "never_verified":
        return "denied_unverifiable"
    return _GROUPS.get(DenialReason(reason), "denied_other") if reason in tuple(DenialReason) else "denied_other"


def _charts(rows: Sequence[dict[str, Cell]]) -> list[Chart]:
    years = [row for row in rows if row["kind"] == EVERY_KIND]
    numbers = ("received", "complied", "denied", "withdrawn", "open")
    bars = [Bar(f"{row['year']} {n}", Fraction(row[n] or 0), str(row[n])) for row in years for n in numbers]
    days = [(row["year"], row["median_days"]) for row in years if row["median_days"] is not None]
    return [
        Chart("Requests by calendar year of receipt", bars),
        Chart("Median days to response", [Bar(str(year), Fraction(value), str(value)) for year, value in days]),
    ]
