"""Every error of the API, as an RFC 9457 problem.

Decides codes, titles and statuses, and that a problem never repeats the input: it names the place as a JSON pointer
(outside the body: `query/...`, `header/...`) and the reason as a code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from service.api.field_errors import field_problems
from service.domain.errors import Refusal
from service.domain.field_problems import FieldProblem
from service.requests.records.insert import STORE_UNAVAILABLE
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.signing_key import SigningKeyUnusable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
WHEN_REFUSED = "x-when-refused"
"""The member of an operation's description with the meaning of a refusal for the person."""
_RETRY_AFTER_SECONDS = 2
_SIGNING_RETRY_AFTER_SECONDS = 30

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "malformed_json": "The body isn't JSON in UTF-8",
        "malformed_http": "The request isn't HTTP/1.1",
        "cut_off": "The body is incomplete",
        "validation": "The request isn't of the documented form",
        "invalid": "A value isn't possible",
        "unknown_kind": "No system or setting knows this kind of identifier",
        "kind_not_available": "This kind of request isn't available yet",
        "unauthenticated": "A valid API key is needed",
        "callback_refused": "The callback is refused",
        "too_many_calls": "Too many calls",
        "too_many_connections": "This client has too many connections",
        "too_slow": "The request arrived too slowly",
        "missing_scope": "The API key lacks a scope",
        "same_person": "A second person is needed",
        "not_found": "The object doesn't exist, or this key may not see it",
        "method_not_allowed": "The method isn't allowed here",
        "wrong_state": "Not possible in this state",
        "refused": "Refused",
        "idempotency_conflict": "The Idempotency-Key was used with another body",
        "reference_in_use": "The external reference is in use",
        "stale_plan": "The plan has changed",
        "undecided_doubts": "Every open doubt needs a decision",
        "stale_doubts": "The doubts have changed",
        "legal_hold": "A legal hold is in force",
        "sealed": "The values are destroyed",
        "evidence_removed": "The log's entries were removed at the end of their retention",
        "too_large": "The body is too large",
        "unsupported_media_type": "The media type of the body isn't supported",
        "unavailable": "Not available at the moment",
        "internal": "Internal error",
    }
)
_CODE_OF_STATUS = {
    400: "malformed_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class FieldError(BaseModel):
    """One wrong field or parameter."""

    field: str = Field(
        description="JSON pointer into the body, `query/<name>`, `header/<name>`, or the column of a CSV file"
    )
    reason: str = Field(description="a code, or a fixed text; never a value from the request")
    allowed: list[str] | None = Field(
        default=None, description="every accepted value or name, if there is a list of them"
    )
    did_you_mean: str | None = Field(
        default=None, description="the allowed value or name that is nearest to the given one"
    )
    expected: str | None = Field(default=None, description="the accepted values in words, if there is no list of them")

    @classmethod
    def of(cls, problem: FieldProblem) -> FieldError:
        """Return the problem of a field as the API shows it."""
        return cls(
            field=problem.field,
            reason=problem.reason,
            allowed=list(problem.allowed) or None,
            did_you_mean=problem.did_you_mean,
            expected=problem.expected,
        )

    @model_serializer(mode="wrap")
    def _without_nulls(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in serialise(self).items() if value is not None}


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/validation",
                "title": TITLES["validation"],
                "status": 422,
                "code": "validation",
                "detail": None,
                "errors": [{"field": "/received_at", "reason": "in_the_future"}],
            }
        }
    )

    type: str = Field(description="`/problems/` and the code")
    title: str
    status: int
    code: str
    detail: str | None = None
    errors: list[FieldError] = Field(default_factory=list)


class Trouble(Exception):  # noqa: N818 - an answer, not a fault
    """A problem that the API itself raises."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers


def problem_of(trouble: Trouble) -> Problem:
    """Return the members of the problem."""
    return Problem(
        type=f"/problems/{trouble.code}",
        title=TITLES.get(trouble.code, HTTPStatus(trouble.status).phrase),
        status=trouble.status,
        code=trouble.code,
        detail=trouble.detail,
        errors=list(trouble.errors),
    )


def problem_response(trouble: Trouble) -> Response:
    """Return the problem as an HTTP response."""
    headers = None if trouble.headers is None else dict(trouble.headers)
    return JSONResponse(problem_of(trouble).model_dump(), trouble.status, headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the entries of an operation's `responses` for these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Install the handlers that render each exception of a route as a problem."""
    app.add_exception_handler(Trouble, _of_trouble)
    app.add_exception_handler(Refusal, _of_refusal)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(SigningKeyUnusable, _of_evidence)
    app.add_exception_handler(AuditLogBroken, _of_evidence)
    for unavailable in STORE_UNAVAILABLE:
        app.add_exception_handler(unavailable, _of_database)


def _of_trouble(request: Request, error: Exception) -> Response:
    assert isinstance(error, Trouble)
    return _answer(request, error)


def _of_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _answer(request, trouble_of(error))


def _answer(request: Request, trouble: Trouble) -> Response:
    """Return the problem, with the meaning of the refusal for the person if the operation declares it."""
    meaning = (getattr(request.scope.get("route"), "openapi_extra", None) or {}).get(WHEN_REFUSED)
    if meaning is not None and trouble.status < 500:
        trouble.detail = meaning if trouble.detail is None else f"{trouble.detail}: {meaning}"
    return problem_response(trouble)


def trouble_of(error: Exception) -> Trouble:
    """Return the problem of an exception: a refusal, an unavailable store, or an internal error."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, Refusal):
        errors = [FieldError.of(problem) for problem in error.problems]
        errors = [each.model_copy(update={"field": _place(each.field)}) for each in errors]
        return Trouble(error.status, error.code, error.reason, errors)
    if isinstance(error, SigningKeyUnusable):
        detail = f"the audit log can't be signed: {error}"
        return Trouble(503, "unavailable", detail, headers={"Retry-After": str(_SIGNING_RETRY_AFTER_SECONDS)})
    if isinstance(error, AuditLogBroken):
        # No Retry-After, because only a human can repair the log.
        return Trouble(500, "internal", f"the audit log doesn't agree with itself: {error.code}")
    if isinstance(error, STORE_UNAVAILABLE):
        return Trouble(503, "unavailable", headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})
    return Trouble(500, "internal")


def _place(field: str) -> str:
    return field if field.startswith(("/", "query/", "header/")) else f"header/{field}"


def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["loc"][0] == "path" for item in found):
        # A path parameter that isn't a valid id names no object.
        return problem_response(Trouble(404, "not_found"))
    body = getattr(request.scope.get("route"), "body_field", None)
    problems = field_problems(found, None if body is None else body.field_info.annotation)
    return _answer(request, Trouble(422, "validation", errors=[FieldError.of(problem) for problem in problems]))


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "refused")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return problem_response(Trouble(error.status_code, code, headers=headers))


def _allowed(request: Request) -> str:
    """Return all methods of this path; the router names those of the first matching route only."""
    routes: list[BaseRoute] = request.app.state.routes
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


def _of_evidence(request: Request, error: Exception) -> Response:
    """Log and render an error of the evidence; its codes and texts hold no path and no personal data."""
    trouble = trouble_of(error)
    log.error("evidence_not_given", error=type(error).__name__, detail=trouble.detail)
    return problem_response(trouble)


def _of_database(request: Request, error: Exception) -> Response:
    """Render an unavailable store or a conflict of two transactions: nothing changed, a retry helps."""
    return problem_response(trouble_of(error))
