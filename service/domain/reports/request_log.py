"""The log of requests that 11 CCR § 7101(b) requires for at least 24 months: one row per request.

The section requires the date of the request, its nature, the manner in which it was made, the date of the response, its
nature, and the basis of a denial in whole or in part (facts read 2026-11-22). A row names no person; it has the
request's id.
"""

from __future__ import annotations

from collections import Counter

from service.domain.reports.report import Question, Report, counted
from service.domain.reports.response import basis_of, nature_of

NAME = "request-log"


def report_requests(question: Question) -> Report:
    """Return a row for each request of the period."""
    rows = [
        {
            "request_id": case.request_id,
            "requested_on": question.day_text(case.received_at),
            "nature": case.kind,
            "regime": case.regime,
            "manner": case.manner,
            "verified_identifiers": case.verified_identifiers,
            "respond_by": question.day_text(case.respond_by),
            "responded_on": question.day_text(case.answered_at),
            "response": nature_of(question.register, case),
            "basis_of_denial": "; ".join(basis_of(question.register, case)) or None,
            "extension_reason": case.extension_reason,
            "approved_by": "; ".join(case.approved_by) or None,
        }
        for case in question.cases()
    ]
    by_month = Counter(str(row["requested_on"])[:7] for row in rows)
    by_response = Counter(str(row["response"]) for row in rows)
    return Report(
        NAME,
        "Log of requests",
        "11 CCR § 7101(b); GDPR Art. 5(2)",
        {
            "request_id": "request",
            "requested_on": "date of request",
            "nature": "nature of request",
            "regime": "law",
            "manner": "manner in which it was made",
            "verified_identifiers": "verified identifiers",
            "respond_by": "answer due by",
            "responded_on": "date of response",
            "response": "nature of response",
            "basis_of_denial": "basis of denial in whole or in part",
            "extension_reason": "reason of extension",
            "approved_by": "plan approved by",
        },
        rows,
        ["Dates are days in the controller's time zone. A request that isn't answered has no date of response."],
        [
            counted("Requests received by month", dict(sorted(by_month.items()))),
            counted("By nature of response", dict(sorted(by_response.items()))),
        ],
    )
