"""`/v1/requests/batch` and `/v1/imports`: many requests in one body, handled as one import."""

from __future__ import annotations

from email.message import Message
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from service.api.authentication import GuardedRoute, RouteArguments, needs
from service.api.bodies.line_readers import reader_of
from service.api.bodies.stream_import import MEDIA_TYPE, ArrivingLines, ImportAnswer, SenderGone
from service.api.dependencies import AppContext, Context, CurrentCaller
from service.api.problems import FieldError, Trouble
from service.api.schemas import ImportsQuery, RefusedQuery
from service.domain.access.api_key import Caller, Scope
from service.domain.requests.imports import ImportFormat
from service.requests.imports.begin import begin_import
from service.requests.imports.control import cancel_import, pause_import, resume_import
from service.requests.imports.progress import (
    ImportPage,
    ImportSummary,
    ImportView,
    RefusedPage,
    list_imports,
    list_refused,
    show_import,
    summarise_import,
)

router = APIRouter(route_class=GuardedRoute, tags=["imports"])

_FORMATS = {
    "application/jsonl": ImportFormat.JSONL,
    "application/x-ndjson": ImportFormat.JSONL,
    "text/csv": ImportFormat.CSV,
}
_JSON_LINE = (
    '{"kind":"erasure","regime":"gdpr","received_at":"2026-11-20T09:30:00Z","external_reference":"case-2041",'
    '"identifiers":[{"kind":"email","value":"ada@example.test",'
    '"verification":{"method":"email_link","verified_at":"2026-11-20T09:31:00Z"}}]}\n'
)
_ROWS = (
    "kind,regime,received_at,external_reference,verification_method,verified_at,identifier.email,identifier.phone\n"
    "erasure,gdpr,2026-11-20T09:30:00Z,case-2041,email_link,2026-11-20T09:31:00Z,ada@example.test,\n"
)
_VERDICTS = (
    '{"line":1,"status":"accepted","id":"2f1c1f3e-0000-4000-8000-000000000000",'
    '"respond_by":"2026-12-20T23:59:59.000000Z","duplicate_of":null}\n'
    '{"line":2,"status":"refused","problem":{"type":"/problems/invalid","title":"A value isn\'t possible",'
    '"status":422,"code":"invalid","detail":null,'
    '"errors":[{"field":"/identifiers/0/value","reason":"malformed_email"}]}}\n'
    '{"import":"7d3e2c5b-0000-4000-8000-000000000000","complete":true,"lines":2,"accepted":1,"duplicate":0,"replayed":0,'
    '"refused":1,"problem":null}\n'
)
_TEXT = {"type": "string"}


def _streamed(route: RouteArguments) -> RouteArguments:
    """Add the descriptions of the body and the answer, which aren't one JSON value."""
    content: dict[str, object] = {name: {"schema": _TEXT, "example": _JSON_LINE} for name in _FORMATS}
    content["text/csv"] = {"schema": _TEXT, "example": _ROWS}
    route["openapi_extra"]["requestBody"] = {"required": True, "content": content}
    route["responses"][202] = {
        "description": "One verdict per line, in order, and a last line that says whether the whole body was read",
        "content": {MEDIA_TYPE: {"schema": _TEXT, "example": _VERDICTS}},
        "headers": {"Location": {"description": "the address of the import", "schema": _TEXT}},
    }
    return route


@router.post(
    "/v1/requests/batch",
    status_code=202,
    operation_id="importRequests",
    summary="Submit many requests in one body",
    response_class=Response,
    **_streamed(needs(Scope.REQUESTS_SUBMIT, 400, 409, 413, 415, 422)),
)
async def import_requests(
    request: Request,
    caller: CurrentCaller,
    context: Context,
    idempotency_key: Annotated[
        str,
        Header(
            pattern=r"^[A-Za-z0-9_-]{1,64}$",
            description="names the import; after a broken connection, send the same body with the same key to continue",
        ),
    ],
) -> Response:
    """Submit lines of JSON, each like the body of `POST /v1/requests`, or CSV with a header.

    At most 100,000 lines of at most 64 KiB. Each line is accepted durably or refused, independently of the others. The
    answer is sent while the body is read. Read it to its last line: without `"complete":true` there, send the same body
    with the same key again. A line that was accepted before is recognised by its `external_reference` among this API
    key's requests, or by its number, and gives the same request. Without `requests:read` a duplicate line is shown as
    `accepted`, because `duplicate` says that another request about this person is open.
    """
    file_format = _format_of(request)
    arriving = ArrivingLines(request.receive)
    try:
        first = await arriving.first()
        if first is not None:
            reader = reader_of(file_format, first, caller.key_id, context.settings.identifier_kinds)
            if file_format is ImportFormat.CSV:
                arriving.drop_first()
                first = await arriving.first()
    except SenderGone:
        raise Trouble(400, "cut_off") from None
    if first is None:
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="no_lines")])
    importing = await run_in_threadpool(begin_import, context.stores, caller, idempotency_key, file_format)
    return ImportAnswer(context, importing, reader, arriving, shows_links=caller.sees_all_requests)


def _format_of(request: Request) -> ImportFormat:
    message = Message()
    message["content-type"] = request.headers.get("content-type") or "application/octet-stream"
    found = _FORMATS.get(message.get_content_type())
    charset = str(message.get_param("charset", "utf-8")).lower()
    encoding = request.headers.get("content-encoding", "identity").lower()
    if found is None or charset not in ("utf-8", "utf8", "us-ascii") or encoding != "identity":
        raise Trouble(415, "unsupported_media_type", f"one of {', '.join(_FORMATS)}, in UTF-8, not compressed")
    return found


@router.get(
    "/v1/imports",
    operation_id="listImports",
    summary="List imports, newest first",
    **needs(Scope.REQUESTS_READ, 422),
)
def list_page(query: Annotated[ImportsQuery, Query()], context: Context) -> ImportPage:
    """Return one page; pass `next_cursor` as `cursor` for the next page; it is null on the last one."""
    return list_imports(context.stores, limit=query.limit, cursor=query.cursor)


@router.get(
    "/v1/imports/{import_id:uuid}",
    operation_id="showImport",
    summary="Show one import",
    **needs(Scope.REQUESTS_READ, 404),
)
def show(import_id: UUID, context: Context) -> ImportView:
    """Show the state of an import and the number of its requests by state.

    States: `running`, `paused`, `completed` (the whole body was read, and each request has ended), `cancelling`,
    `cancelled`. `GET /v1/requests?import_id=` lists the requests.
    """
    return show_import(context.stores, import_id)


@router.get(
    "/v1/imports/{import_id:uuid}/refused",
    operation_id="listRefusedLines",
    summary="List an import's refused lines",
    **needs(Scope.REQUESTS_READ, 404, 422),
)
def refused(import_id: UUID, query: Annotated[RefusedQuery, Query()], context: Context) -> RefusedPage:
    """List refused lines by number, with reasons, until they are repaired and accepted."""
    return list_refused(context.stores, import_id, after=query.after, limit=query.limit)


def _steered(context: AppContext, caller: Caller, import_id: UUID) -> ImportView | ImportSummary:
    """Return the import; its counts by state only for keys that may read requests.

    The counts say how many requests are duplicates.
    """
    if caller.may(Scope.REQUESTS_READ) or caller.may(Scope.REQUESTS_REVIEW):
        return show_import(context.stores, import_id)
    return summarise_import(context.stores, import_id)


@router.post(
    "/v1/imports/{import_id:uuid}/pause",
    operation_id="pauseImport",
    summary="Pause an import",
    **needs(Scope.REQUESTS_SUBMIT, 404, 409, or_scope=Scope.REQUESTS_REVIEW),
)
def pause(import_id: UUID, caller: CurrentCaller, context: Context) -> ImportView | ImportSummary:
    """Stop the work on all requests of the import. Deadlines, overdue marks and alerts continue.

    A key with `requests:submit` only can pause its own imports; any other id is a 404.
    """
    pause_import(context.stores, import_id, actor=caller.actor, submitted_by=caller.ends_only_of)
    return _steered(context, caller, import_id)


@router.post(
    "/v1/imports/{import_id:uuid}/resume",
    operation_id="resumeImport",
    summary="Resume a paused import",
    **needs(Scope.REQUESTS_SUBMIT, 404, 409, or_scope=Scope.REQUESTS_REVIEW),
)
def resume(import_id: UUID, caller: CurrentCaller, context: Context) -> ImportView | ImportSummary:
    """Continue the work on the requests of a paused import."""
    resume_import(context.stores, import_id, actor=caller.actor, submitted_by=caller.ends_only_of)
    return _steered(context, caller, import_id)


@router.post(
    "/v1/imports/{import_id:uuid}/cancel",
    operation_id="cancelImport",
    summary="Cancel an import for good",
    **needs(Scope.REQUESTS_SUBMIT, 404, 409, or_scope=Scope.REQUESTS_REVIEW),
)
def cancel(import_id: UUID, caller: CurrentCaller, context: Context) -> ImportView | ImportSummary:
    """Accept no more lines and revoke each request that hasn't ended. Then the state is `cancelled`."""
    cancel_import(context.stores, import_id, actor=caller.actor, submitted_by=caller.ends_only_of)
    return _steered(context, caller, import_id)
