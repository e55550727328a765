"""The report of recipients that GDPR Art. 19 requires: each erasure's systems, times and results.

Art. 19: communicate the erasure to each recipient unless that is impossible or disproportionate, and inform the data
subject about those recipients on request. A row per request and system, also for a system that never received a call,
with the reason.
"""

from __future__ import annotations

from collections import Counter

from service.domain.audit.schema import instant_text
from service.domain.reports.report import NOT_COVERED_NOTE, Question, Report, counted

NAME = "recipients"


def report_recipients(question: Question) -> Report:
    """Return a row per system in each request of the period.

    The recipients of a linked request are those of the earlier request.
    """
    rows = [
        {
            "request_id": case.request_id,
            "carried_out_by": case.linked_to,
            "system": step.system,
            "connector": question.register.connectors.get(step.system),
            "told_at": None if step.told_at is None else instant_text(step.told_at),
            "result": step.outcome or step.state,
            "reason": step.reason if step.outcome is not None else None,
            "result_at": None if step.ended_at is None else instant_text(step.ended_at),
            "records_erased": step.erased,
            "records_left": step.left,
            "not_covered": question.register.not_covered(step.system),
        }
        for case in question.cases()
        for step in sorted(question.register.steps_of(case), key=lambda step: step.system)
    ]
    results = Counter(str(row["result"]) for row in rows)
    return Report(
        NAME,
        "Recipients of erasures",
        "GDPR Art. 19; 11 CCR § 7022(b)",
        {
            "request_id": "request",
            "carried_out_by": "linked to",
            "system": "recipient",
            "connector": "kind of system",
            "told_at": "told at (UTC)",
            "result": "result",
            "reason": "reason",
            "result_at": "result at (UTC)",
            "records_erased": "records erased",
            "records_left": "records left",
            "not_covered": "not covered",
        },
        rows,
        [
            "`told at` is when the recipient first answered a call to erase or suppress; empty if it never was.",
            NOT_COVERED_NOTE,
        ],
        [counted("By result", dict(sorted(results.items())))],
    )
