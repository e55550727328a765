"""The report of systems: number of steps, outcomes, hours and missing answers of each system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction

from connectors.base.transitions.states import ENDED, StepState
from service.domain.reports.cases import Recipient
from service.domain.reports.csv_text import Cell
from service.domain.reports.report import NOT_COVERED_NOTE, Bar, Chart, Question, Report, mean_text, median_text

NAME = "systems"
_OUTCOMES = tuple(state for state in StepState if state in ENDED)


def report_systems(question: Question) -> Report:
    """Return a row per system with a step in a request of the period."""
    by_system: dict[str, list[Recipient]] = defaultdict(list)
    for case in question.cases():
        for step in case.steps:
            by_system[step.system].append(step)
    rows = [
        {"system": name, "connector": question.register.connectors.get(name), **_counts(by_system[name])}
        | {"not_covered": question.register.not_covered(name)}
        for name in sorted(by_system)
    ]
    return Report(
        NAME,
        "Systems",
        "GDPR Art. 5(2), 28",
        {
            "system": "system",
            "connector": "kind of system",
            "steps": "steps",
            **{outcome: outcome.replace("_", " ") for outcome in _OUTCOMES},
            "open": "not ended",
            "parked": "of these waiting for a human",
            "attempts": "attempts",
            "errors": "attempts without an answer",
            "records_erased": "records erased",
            "records_left": "records left",
            "median_hours": "median hours to the outcome",
            "mean_hours": "mean hours to the outcome",
            "not_covered": "not covered",
        },
        rows,
        [
            "Hours are from the opening of a step to its outcome, the vendor's own delay and every wait included.",
            NOT_COVERED_NOTE,
        ],
        [Chart("Median hours to the outcome", _hours(rows)), Chart("Steps by system", _steps(rows))],
    )


def _counts(steps: Sequence[Recipient]) -> dict[str, Cell]:
    outcomes = [step.outcome for step in steps]
    hours = [
        Fraction((step.ended_at - step.opened_at) // timedelta(microseconds=1), 3_600_000_000)
        for step in steps
        if step.ended_at is not None and step.ended_at >= step.opened_at
    ]
    return {
        "steps": len(steps),
        **{outcome.value: outcomes.count(outcome) for outcome in _OUTCOMES},
        "open": outcomes.count(None),
        "parked": sum(step.outcome is None and step.state == StepState.PARKED for step in steps),
        "attempts": sum(step.attempts for step in steps),
        "errors": sum(step.errors for step in steps),
        "records_erased": sum(step.erased for step in steps),
        "records_left": sum(step.left for step in steps),
        "median_hours": median_text(hours),
        "mean_hours": mean_text(hours),
    }


def _hours(rows: Sequence[dict[str, Cell]]) -> list[Bar]:
    known = ((row["system"], row["median_hours"]) for row in rows if row["median_hours"] is not None)
    return [Bar(str(system), Fraction(hours), str(hours)) for system, hours in known]


def _steps(rows: Sequence[dict[str, Cell]]) -> list[Bar]:
    return [Bar(str(row["system"]), Fraction(row["steps"] or 0), str(row["steps"])) for row in rows]
