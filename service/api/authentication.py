"""Authenticate callers: each route names its scope, and the key is checked before the body is read.

Decides that a route without a scope can't be made unless it is declared open. The answer to a wrong, an expired and a
revoked key is the same; the reason of the refusal is counted only.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import TypedDict

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.api.bodies.request_body import MAX_BODY_BYTES, read_body
from service.api.dependencies import AppContext, context_of
from service.api.field_errors import field_names, unknown_name
from service.api.problems import WHEN_REFUSED, FieldError, Trouble, documented
from service.domain.access.api_key import Caller, KeyRefusal, Scope
from service.domain.field_problems import MOST_PROBLEMS

SECURITY_SCHEME = "apiKey"
_ANYBODY = "x-open-to-anybody"
_SIGNED = "x-signed-by-vendor"
_MAX_BYTES = "x-max-body-bytes"
_CHALLENGE = 'Bearer realm="expunge"'


class RouteArguments(TypedDict):
    """Arguments of a router's decorator (`@router.get`, ...); `responses` is by status."""

    openapi_extra: dict[str, object]
    responses: dict[int | str, dict[str, object]]


def needs(
    scope: Scope,
    *problems: int,
    or_scope: Scope | None = None,
    when_refused: str | None = None,
    max_body_bytes: int | None = None,
) -> RouteArguments:
    """Return the arguments of a route that needs `scope`.

    `problems` are its statuses besides 401, 403, 422, 500 and 503. With `or_scope` either of the two scopes suffices.
    `when_refused` is added to the detail of each refusal. `max_body_bytes` replaces the limit of other bodies.
    """
    scopes = [scope] if or_scope is None else [scope, or_scope]
    extra: dict[str, object] = {"security": [{SECURITY_SCHEME: [each.value]} for each in scopes]}
    if when_refused is not None:
        extra[WHEN_REFUSED] = when_refused
    if max_body_bytes is not None:
        extra[_MAX_BYTES] = max_body_bytes
    return {"openapi_extra": extra, "responses": documented(401, 403, *problems, 422, 500, 503)}


def open_to_anybody(*problems: int) -> RouteArguments:
    """Return the arguments of a route that needs no key: health only."""
    return {"openapi_extra": {"security": [], _ANYBODY: True}, "responses": documented(*problems, 500)}


def signed_by_vendor(*problems: int) -> RouteArguments:
    """Return the arguments of a route whose endpoint checks a vendor's signature: callbacks only."""
    extra: dict[str, object] = {"security": [], _ANYBODY: True, _SIGNED: True}
    return {"openapi_extra": extra, "responses": documented(*problems, 500, 503)}


class GuardedRoute(APIRoute):
    """A route that checks the key and its scope, reads the body, and then runs the endpoint."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[object, object, Response]]:
        """Return the handler that checks the key before it calls the endpoint."""
        handle = super().get_route_handler()
        scopes = _scopes_of(self)
        has_body = self.body_field is not None
        max_bytes = (self.openapi_extra or {}).get(_MAX_BYTES, MAX_BODY_BYTES)
        parameters = _query_parameters(self)

        async def guarded(request: Request) -> Response:
            if scopes is not None:
                caller = await _authenticate(context_of(request), request.headers.getlist("authorization"))
                _check_scope(caller, scopes)
                _check_query(request, parameters)
                request.state.caller = caller
            return await handle(await read_body(request, max_bytes) if has_body else request)

        return guarded


def _scopes_of(route: APIRoute) -> tuple[Scope, ...] | None:
    """Return the scopes of which one suffices; None for an open route."""
    extra = route.openapi_extra or {}
    if extra.get(_ANYBODY):
        return None
    scopes = tuple(Scope(scope) for requirement in extra["security"] for scope in requirement[SECURITY_SCHEME])
    if not scopes:
        raise ValueError(f"{route.path}: a route needs a scope")
    return scopes


def _query_parameters(route: APIRoute) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in route.dependant.query_params:
        names += field_names(parameter.field_info.annotation) or [parameter.alias]
    return tuple(names)


def _check_query(request: Request, parameters: Sequence[str]) -> None:
    """Refuse unknown parameters, because a misspelled filter that is ignored selects too much."""
    unknown = dict.fromkeys(name for name in request.query_params if name not in parameters)
    if unknown:
        problems = [unknown_name(name, parameters, ["query"]) for name in islice(unknown, MOST_PROBLEMS)]
        raise Trouble(422, "validation", errors=[FieldError.of(problem) for problem in problems])


async def _authenticate(context: AppContext, headers: list[str]) -> Caller:
    if not headers:
        raise _unauthenticated(context, KeyRefusal.MISSING)
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer":
        raise _unauthenticated(context, KeyRefusal.MALFORMED)
    checked = await context.keys.ask(token.strip(" "))
    if isinstance(checked, KeyRefusal):
        raise _unauthenticated(context, checked)
    return checked


def _unauthenticated(context: AppContext, reason: KeyRefusal) -> Trouble:
    context.metrics.refused_authentication(reason)
    challenge = _CHALLENGE if reason is KeyRefusal.MISSING else f'{_CHALLENGE}, error="invalid_token"'
    return Trouble(401, "unauthenticated", headers={"WWW-Authenticate": challenge})


def _check_scope(caller: Caller, scopes: Sequence[Scope]) -> None:
    if not any(map(caller.may, scopes)):
        names = [scope.value for scope in scopes]
        challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{names[0]}"'
        raise Trouble(403, "missing_scope", f"needs {' or '.join(names)}", headers={"WWW-Authenticate": challenge})
