"""Compute a report from the signed log, with the numbers that any reader of the export can compute.

Decides which reports there are. Only the log's entries are read, and no report is made from bytes that aren't under the
signed root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Engine

from service.audit.exports.slice import Excerpt, decoded, findings_kept, select_entries, signed_entries
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from service.domain.reports import lateness, metrics, recipients, request_log, systems
from service.domain.reports.cases import Register
from service.domain.reports.rendering import Source, render
from service.domain.reports.report import Period, Question, Report

REPORTS: Mapping[str, Callable[[Question], Report]] = MappingProxyType(
    {
        request_log.NAME: request_log.report_requests,
        metrics.NAME: metrics.report_metrics,
        recipients.NAME: recipients.report_recipients,
        lateness.NAME: lateness.report_lateness,
        systems.NAME: systems.report_systems,
    }
)


@dataclass(frozen=True)
class ComputedReport:
    """The file, the rows in it, and the log that it was computed from."""

    content: bytes
    rows: int
    log: Excerpt


def report_from_log(
    engine: Engine,
    signing_key: SigningKey,
    name: str,
    *,
    period: Period,
    regime: str | None,
    form: str,
    controller: str,
    size: int | None = None,
) -> ComputedReport:
    """Return the report `name` as `form`, from the log as of now or at a signed `size`.

    Raises NotFound, AuditLogBroken.
    """
    log = select_entries(engine, signing_key, Selection(), size=size)
    register = Register()
    with findings_kept(engine):
        for entry in signed_entries(engine, log.checkpoint):
            register.see(decoded(entry))
    report = REPORTS[name](Question(register, period, regime))
    content = render(report, Source(controller, log.checkpoint, period, regime), form)
    return ComputedReport(content, len(report.rows), log)
