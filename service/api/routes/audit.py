"""`/v1/audit`: exports of the log, excerpts, reports and PDF certificates. Each read is logged.

Decides how a broken transfer continues: the answer names the signed size of the log that it was made from (`Log-Size`),
and the same call with this `size` returns the same bytes; with `start`, those from the entry with that index on. While
a client reads slowly, the service keeps only its position.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.api.authentication import GuardedRoute, RouteArguments, needs
from service.api.dependencies import AppContext, Context, CurrentCaller
from service.api.schemas import AnyInstant, RegimeCode
from service.audit.exports.certificate import issue_certificate
from service.audit.exports.certificate_pdf import print_certificate
from service.audit.exports.report import REPORTS, report_from_log
from service.audit.exports.slice import Excerpt, chosen_entries, excerpt_lines, select_entries
from service.audit.exports.table import FileDigest, csv_lines, sign_manifest, write_parquet
from service.domain.access.api_key import Caller, Scope
from service.domain.audit.canonical_json import LARGEST_INT
from service.domain.audit.selection import Selection
from service.domain.errors import Invalid, NotFound
from service.domain.reports.report import NoPeriod, parse_period
from service.store.audit_log.record_change import log_event
from service.store.encryption.secrets import audit_signing_key
from service.store.locking import database_now

router = APIRouter(route_class=GuardedRoute, tags=["evidence"])
LOG_SIZE = "Log-Size"
_PIECE_BYTES = 256 * 1024
_EXPORTS = {"jsonl": "application/jsonl", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_REPORTS = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


class PinnedQuery(BaseModel):
    """The signed size of the log to read."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    size: int | None = Field(
        None, ge=0, le=LARGEST_INT, description="the `Log-Size` of an earlier answer; default: newest"
    )


class ExcerptQuery(PinnedQuery):
    """A choice of entries and the form of the file."""

    form: Literal["jsonl", "csv", "parquet"] = Field("jsonl", alias="format")
    from_at: AnyInstant | None = Field(None, alias="from", description="entries written at this instant or later")
    to_at: AnyInstant | None = Field(None, alias="to", description="entries written before this instant")
    system: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.:-]{1,80}$")] | None = None
    regime: RegimeCode | None = None

    def selection(self) -> Selection:
        """Return the filter of the excerpt."""
        return Selection(self.from_at, self.to_at, self.system, None if self.regime is None else self.regime.value)


class ExportQuery(ExcerptQuery):
    """A choice of entries, and the first one to send."""

    start: int = Field(0, ge=0, le=LARGEST_INT, description="leave out everything before the entry with this index")


class ReportQuery(PinnedQuery):
    """The period and the law of a report, and the form of the file."""

    period: str = Field(
        pattern=r"^[0-9]{4}(-Q[1-4]|-[0-9]{2}|-[0-9]{2}-[0-9]{2}\.\.[0-9]{4}-[0-9]{2}-[0-9]{2})?$",
        description="the days of receipt: YYYY, YYYY-Qn, YYYY-MM or YYYY-MM-DD..YYYY-MM-DD",
    )
    form: Literal["json", "csv", "html"] = Field("json", alias="format")
    regime: RegimeCode | None = None


def _files(arguments: RouteArguments, *types: str, description: str) -> RouteArguments:
    schema = {"schema": {"type": "string", "format": "binary"}}
    content = {name: {"schema": {"type": "object"}} if name == "application/json" else schema for name in types}
    arguments["responses"][200] = {"description": description, "content": content}
    return arguments


@router.get(
    "/v1/audit/export",
    operation_id="exportAudit",
    summary="Export the audit log, or an excerpt of it",
    response_class=Response,
    **_files(needs(Scope.AUDIT_READ, 404, 422), *_EXPORTS.values(), description="The file, in pieces, signed"),
)
def export(query: Annotated[ExportQuery, Query()], caller: CurrentCaller, context: Context) -> Response:
    """Export the audit log. JSON lines include checkpoint and proofs; CSV and Parquet have a manifest.

    The file is complete only if its last line is there. 404 if no checkpoint of that size was signed. Verify the file
    with `expunge audit verify`.
    """
    if query.start and query.form == "parquet":
        raise Invalid("Parquet has no part of a file", field="query/start")
    excerpt = _taken(query, caller, context, "export_made")
    headers = {
        LOG_SIZE: str(excerpt.checkpoint.size),
        "Content-Disposition": f'attachment; filename="audit.{query.form}"',
    }
    return StreamingResponse(
        _pieces(query.form, context, excerpt, query.start), media_type=_EXPORTS[query.form], headers=headers
    )


@router.get(
    "/v1/audit/export/manifest",
    operation_id="signAuditExport",
    summary="The manifest that signs an exported table",
    response_class=Response,
    **_files(needs(Scope.AUDIT_READ, 404, 422), "application/json", description="One line of signed JSON"),
)
def manifest(query: Annotated[ExcerptQuery, Query()], caller: CurrentCaller, context: Context) -> Response:
    """Sign the bytes of an exported file. Pass the `size` that the export answered in `Log-Size`."""
    if query.form == "jsonl":
        raise Invalid("JSON lines carry their own signature", field="query/format")
    excerpt = _taken(query, caller, context, "evidence_read", "export.manifest")
    digest = FileDigest.of(_pieces(query.form, context, excerpt, 0))
    rows = digest.lines - 1 if query.form == "csv" else sum(1 for _ in chosen_entries(context.stores.engine, excerpt))
    content = sign_manifest(audit_signing_key(context.settings), excerpt, query.form, digest, rows=rows)
    return Response(content, media_type="application/json", headers={LOG_SIZE: str(excerpt.checkpoint.size)})


@router.get(
    "/v1/audit/reports/{name}",
    operation_id="reportFromAudit",
    summary="Compute a report from the audit log",
    response_class=Response,
    **_files(needs(Scope.AUDIT_READ, 404, 422), *_REPORTS.values(), description="The report"),
)
def report(name: str, query: Annotated[ReportQuery, Query()], caller: CurrentCaller, context: Context) -> Response:
    """Compute `request-log`, `metrics`, `recipients`, `lateness` or `systems` for a period of receipt."""
    if name not in REPORTS:
        raise NotFound("there is no such report")
    try:
        period = parse_period(query.period, context.settings.service.zone)
    except NoPeriod:
        raise Invalid("not a period of the calendar", field="query/period") from None
    _log(caller, context, "evidence_read", f"report.{name}")
    computed = report_from_log(
        context.stores.engine,
        audit_signing_key(context.settings),
        name,
        period=period,
        regime=None if query.regime is None else query.regime.value,
        form=query.form,
        controller=context.settings.service.controller,
        size=query.size,
    )
    headers = {
        LOG_SIZE: str(computed.log.checkpoint.size),
        "Content-Disposition": f'attachment; filename="{name}.{query.form}"',
    }
    return Response(computed.content, media_type=_REPORTS[query.form], headers=headers)


@router.get(
    "/v1/requests/{request_id:uuid}/certificate.pdf",
    operation_id="printCertificate",
    summary="Issue the certificate of an answered request on paper",
    response_class=Response,
    **_files(
        needs(Scope.AUDIT_READ, 404, 409, 410), "application/pdf", description="A PDF that carries the certificate"
    ),
)
def certificate_on_paper(request_id: UUID, caller: CurrentCaller, context: Context) -> Response:
    """Issue the certificate as a PDF. Only the attached JSON certificate is evidence."""
    key = audit_signing_key(context.settings)
    issued = issue_certificate(context.stores, context.settings, key, request_id, actor=caller.actor)
    name = f'attachment; filename="certificate-{request_id}.pdf"'
    content = print_certificate(issued.content)
    return Response(content, media_type="application/pdf", headers={"Content-Disposition": name})


def _taken(query: ExcerptQuery, caller: Caller, context: AppContext, event: str, what: str | None = None) -> Excerpt:
    """Log the read before it is answered, so that an export of the newest size holds the entry."""
    _log(caller, context, event, what)
    key = audit_signing_key(context.settings)
    return select_entries(context.stores.engine, key, query.selection(), size=query.size)


def _log(caller: Caller, context: AppContext, event: str, what: str | None) -> None:
    with context.stores.engine.begin() as connection:
        now = database_now(connection)
        data = {} if what is None else {"what": what}
        log_event(connection, row="export", key=str(uuid4()), event=event, actor=caller.actor, at=now, data=data)


def _pieces(form: str, context: AppContext, excerpt: Excerpt, start: int) -> Iterator[bytes]:
    engine = context.stores.engine
    if form == "jsonl":
        return excerpt_lines(engine, audit_signing_key(context.settings), excerpt, start=start)
    if form == "csv":
        return csv_lines(engine, excerpt, start=start)
    return _parquet(context, excerpt)


def _parquet(context: AppContext, excerpt: Excerpt) -> Iterator[bytes]:
    """Return the file, written before the answer begins; its directory is removed when the file is open."""
    with tempfile.TemporaryDirectory(prefix="expunge-") as scratch:
        path = Path(scratch, "audit.parquet")
        write_parquet(context.stores.engine, excerpt, path)
        return _read(path.open("rb"))


def _read(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
