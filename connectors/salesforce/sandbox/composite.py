"""The stand-in's `/composite`: up to 25 subrequests in one call, run in order, references filled in, all or none.

Source: REST API Developer Guide, "Composite" (read 2026-11-22); the refusal of more than 25 was seen recorded. Five of
them may be queries or collections: whether collections count is contradictory, so the stricter reading holds here.
Unconfirmed: the HTTP status around a refusal of the whole (200 here, the refusal stands in the only subanswer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from connectors.salesforce.sandbox.rest import RestSandbox
from connectors.salesforce.sandbox.wire import error_body, json_body, refuse
from connectors.testing.sandbox import ApiError, Call, Result, route

MOST_SUBREQUESTS = 25
MOST_QUERIES = 5
_REFERENCE = re.compile(r"@\{(?P<id>[A-Za-z]\w*)\.(?P<path>[\w.\[\]]+)\}")
_REFERENCE_ID = re.compile(r"[A-Za-z]\w*")
_STEP = re.compile(r"(\w+)|\[(\d+)\]")
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})
_KEYS = frozenset({"method", "url", "referenceId", "body", "httpHeaders"})
_COUNTED = re.compile(r"/(?:query|queryAll)(?:/[^/]+)?|/composite/sobjects(?:/\w+)?")
_SUPPORTED = re.compile(r"/(?:query|queryAll)(?:/[^/]+)?|/composite/sobjects|/sobjects(?:/.*)?")


class CompositeSandbox(RestSandbox):
    """Several calls in one."""

    @route("POST", "/services/data/{version}/composite")
    def composite(self, call: Call) -> Result:
        """Run the subrequests in order; one refused one doesn't stop the others unless allOrNone was asked for."""
        body = json_body(call)
        parts = body.get("compositeRequest") if isinstance(body, dict) else None
        if not isinstance(parts, list) or not parts or not all(isinstance(p, dict) for p in parts):
            raise refuse(400, "JSON_PARSER_ERROR", "compositeRequest is required")
        if set(body) - {"compositeRequest", "allOrNone", "collateSubrequests"}:
            raise refuse(400, "JSON_PARSER_ERROR", "unknown key beside compositeRequest")
        refusal = self._refusal(call, parts)
        if refusal is not None:
            return Result(200, {"compositeResponse": [_answer(None, 400, error_body("LIMIT_EXCEEDED", refusal))]})
        take_back = self.store.savepoint()
        answers: list[dict[str, Any]] = []
        known: dict[str, Any] = {}
        for part in parts:
            answer = self._run(call, part, known)
            answers.append(answer)
            if answer["httpStatusCode"] < 400:
                known[part["referenceId"]] = answer["body"]
            elif body.get("allOrNone"):
                take_back()
                return Result(200, {"compositeResponse": _halted(parts, answers)})
        return Result(200, {"compositeResponse": answers})

    def _refusal(self, call: Call, parts: list[dict[str, Any]]) -> str | None:
        if len(parts) > MOST_SUBREQUESTS:
            return "The request can't contain more than 25 operations."
        base = self.base(call)
        paths = [str(p.get("url", "")).partition("?")[0].removeprefix(base) for p in parts]
        if sum(_COUNTED.fullmatch(path) is not None for path in paths) > MOST_QUERIES:
            return "The request can't contain more than 5 query or collection operations."
        names = [p.get("referenceId") for p in parts]
        if len(set(map(str, names))) != len(names):
            return "referenceId has to be unique."
        return None

    def _run(self, outer: Call, part: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        name = part.get("referenceId")
        try:
            call = self._subcall(outer, part, known)
        except ApiError as error:
            return _answer(name, error.result.status, error.result.body)
        result = self.dispatch(call)
        body = json.loads(json.dumps(result.body)) if not isinstance(result.body, bytes) else None
        return _answer(name, result.status, body, result.headers)

    def _subcall(self, outer: Call, part: Mapping[str, Any], known: Mapping[str, Any]) -> Call:
        name, method, url = part.get("referenceId"), part.get("method"), part.get("url")
        if not isinstance(name, str) or not _REFERENCE_ID.fullmatch(name) or set(part) - _KEYS:
            raise refuse(400, "INVALID_INPUT", "a subrequest has a method, a url and a referenceId")
        if method not in _METHODS or not isinstance(url, str) or not url.startswith("/services/data/"):
            raise refuse(400, "INVALID_INPUT", "a subrequest's url begins with /services/data/")
        split = urlsplit(_filled(url, known))
        base = self.base(outer)
        if not split.path.startswith(f"{base}/") or not _SUPPORTED.fullmatch(split.path.removeprefix(base).rstrip("/")):
            raise refuse(400, "INVALID_INPUT", "this resource can't be part of a composite request")
        body = b""
        if part.get("body") is not None:
            if method in ("GET", "DELETE"):
                raise refuse(400, "INVALID_INPUT", "this method takes no body")
            body = _filled(json.dumps(part["body"]), known, is_json=True).encode()
        pairs = tuple(parse_qsl(split.query, keep_blank_values=True))
        headers = {"content-type": "application/json", **{k.lower(): v for k, v in part.get("httpHeaders", {}).items()}}
        return Call(str(method), split.path.rstrip("/"), dict(pairs), pairs, headers, body)

    def dispatch(self, call: Call) -> Result:
        """Route and run one subrequest: it is no call of its own, neither for the token nor for the day's limit."""
        try:
            for method, pattern, handler in self._routes:
                match = pattern.fullmatch(call.path)
                if match and method == call.method:
                    values = {k: unquote(v) for k, v in match.groupdict().items()}
                    filled = Call(call.method, call.path, call.query, call.query_list, call.headers, call.body, values)
                    return handler(self, filled)
            return self.not_found(call)
        except ApiError as error:
            return error.result


def _answer(name: Any, status: int, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"body": body, "httpHeaders": dict(headers or {}), "httpStatusCode": status, "referenceId": name}


def _halted(parts: list[dict[str, Any]], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All or none: the refused one keeps its answer, all others say that they were taken back or never ran."""
    message = "The transaction was rolled back since another operation in the same transaction failed."
    halted = error_body("PROCESSING_HALTED", message)
    return [
        answers[n] if n == len(answers) - 1 else _answer(part.get("referenceId"), 400, halted)
        for n, part in enumerate(parts)
    ]


def _filled(text: str, known: Mapping[str, Any], *, is_json: bool = False) -> str:
    """Put earlier answers' values in place of `@{reference.path}`."""

    def value(match: re.Match[str]) -> str:
        current: Any = known.get(match["id"])
        for key, position in _STEP.findall(match["path"]):
            try:
                current = current[int(position)] if position else current[key]
            except (KeyError, IndexError, TypeError):
                current = None
        if current is None or isinstance(current, dict | list):
            raise refuse(400, "PROCESSING_HALTED", "Invalid reference specified. No value for reference found.")
        return json.dumps(str(current))[1:-1] if is_json else str(current)

    return _REFERENCE.sub(value, text)
