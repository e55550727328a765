"""The report of extended, late and overdue requests (GDPR Art. 12(3), 11 CCR § 7021)."""

from __future__ import annotations

from service.domain.reports.cases import Case
from service.domain.reports.report import Question, Report, counted
from service.domain.reports.response import nature_of

NAME = "lateness"


def report_lateness(question: Question) -> Report:
    """Return a row for each request of the period that was extended or missed its deadline."""
    cases = question.cases()
    late = [case for case in cases if _is_late(case)]
    extended = [case for case in cases if case.extended_at is not None]
    rows = [
        {
            "request_id": case.request_id,
            "regime": case.regime,
            "kind": case.kind,
            "requested_on": question.day_text(case.received_at),
            "first_due_by": question.day_text(case.first_respond_by),
            "extended_on": question.day_text(case.extended_at),
            "extension_reason": case.extension_reason,
            "due_by": question.day_text(case.respond_by),
            "overdue_since": question.day_text(case.overdue_at),
            "responded_on": question.day_text(case.answered_at),
            "days_late": _days_late(question, case),
            "response": nature_of(question.register, case),
        }
        for case in cases
        if _is_late(case) or case.extended_at is not None
    ]
    return Report(
        NAME,
        "Extended and overdue requests",
        "GDPR Art. 12(3); 11 CCR § 7021(b)",
        {
            "request_id": "request",
            "regime": "law",
            "kind": "kind",
            "requested_on": "date of request",
            "first_due_by": "first due by",
            "extended_on": "extended on",
            "extension_reason": "reason of extension",
            "due_by": "due by",
            "overdue_since": "overdue since",
            "responded_on": "date of response",
            "days_late": "days late",
            "response": "nature of response",
        },
        rows,
        ["`days late` is empty while a request that is overdue isn't answered: the log ends, the delay doesn't."],
        [
            counted(
                "Requests of the period",
                {"in time": len(cases) - len(late), "late": len(late), "extended": len(extended)},
            )
        ],
    )


def _is_late(case: Case) -> bool:
    if case.answer == "expired":
        return False
    return case.overdue_at is not None or (case.answered_at is not None and case.answered_at > case.respond_by)


def _days_late(question: Question, case: Case) -> int | None:
    if not _is_late(case):
        return 0
    return None if case.answered_at is None else max(0, question.days_between(case.respond_by, case.answered_at))
