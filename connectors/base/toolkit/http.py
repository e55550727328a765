"""One HTTP client for all connectors: kept-alive connections, time-outs, trust, and errors named after what comes next.

Decides how statuses become our errors; a connector says which statuses *it* understands. Nothing of an answer's text
or of a URL gets into an error or a log line: paths carry identifiers.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.pacing import Pacer, retry_after_seconds
from connectors.base.toolkit.connections import Connections, Received
from connectors.base.toolkit.line import changes
from connectors.base.toolkit.target import request_target
from connectors.base.toolkit.vendor_json import parse_vendor_json

# httpcore logs what it sends at DEBUG, and paths carry identifiers.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_WITHOUT_BODY = frozenset({204, 205})
_SAYS_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status the caller expected. `body` is parsed JSON, or None where the answer has no content.

    Names of headers are lower-case.
    """

    status: int
    body: Any
    headers: Mapping[str, str]

    def field(self, name: str, kind: type[_T]) -> _T:
        """A field of the JSON object, of the expected type. Raises AnswerNotUnderstood."""
        return field_of(self.body, name, kind)


def field_of(body: Any, name: str, kind: type[_T]) -> _T:
    """`body[name]` if `body` is an object that has it in the expected type. Raises AnswerNotUnderstood."""
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise AnswerNotUnderstood(f"field_missing:{name.lower()}")
    return value


class VendorClient:
    """HTTP to one system, for one thread or several. Counts its calls, and asks the system's pacer before each."""

    def __init__(
        self,
        base_url: str,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        refine: Callable[[httpx.Response], ConnectorError | None] | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """`refine` sees every answer of an unexpected status first and may name the error more exactly.

        `auth` is the user and the password of Basic authentication. `timeout_seconds` is the system's own
        (`SystemConfig.timeout_seconds`): the longest silence within one call. `pacer` is the system's own
        (`SystemConfig.pacer`). No cookie is kept, and no redirect followed.
        """
        self.calls = 0
        self._counting = threading.Lock()
        self._pacer = pacer
        self._refine = refine
        self._timeout_seconds = timeout_seconds
        self._base_url = httpx.URL(base_url)
        self._base_path = self._base_url.raw_path.decode("ascii").partition("?")[0].rstrip("/")
        self._connections = Connections(self._base_url, timeout_seconds)
        self._headers = _merged(_for_anybody(self._base_url), headers)
        if auth is not None:
            packed = base64.b64encode(":".join(auth).encode())
            self._headers[b"authorization"] = b"Basic " + packed
        self._sent = list(self._headers.items())

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._connections.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        expect: Collection[int],
        params: Mapping[str, str | int] | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        may_be_empty: bool = False,
    ) -> Reply:
        """One call. Returns only if the status is in `expect`; a body must then be JSON, unless 204, 205 or allowed.

        Raises: TemporarilyUnavailable (408, 425, 429, 5xx, transport; `effect_unknown` when a non-GET may have been
        carried out), CredentialsRefused (401, 403), RequestRefused (other 4xx), AnswerNotUnderstood (all else).
        """
        target = request_target(self._base_path, path, params)
        sent, content = self._sent, None
        if headers or json_body is not None or method in _SAYS_LENGTH:
            sent, content = self._with_body(method, headers, json_body)
        answer = self._send(method, target, sent, content, expect)
        if answer.status in _WITHOUT_BODY or (may_be_empty and not answer.body):
            return Reply(answer.status, None, answer.headers)
        return Reply(answer.status, _parse(answer), answer.headers)

    def download(self, method: str, url: str, *, expect: Collection[int] = (200,)) -> bytes:
        """The raw body of a URL, or of a path. Nothing that this client was given is sent to another origin."""
        try:
            found = httpx.URL(url)
        except httpx.InvalidURL:
            raise AnswerNotUnderstood("bad_url") from None
        if not found.scheme and not found.host:
            return self._send(method, request_target(self._base_path, url), self._sent, None, expect).body
        if (found.scheme, found.host, found.port) == (self._base_url.scheme, self._base_url.host, self._base_url.port):
            return self._send(method, found.raw_path, self._sent, None, expect).body
        if found.scheme not in ("http", "https") or not found.host:
            raise AnswerNotUnderstood("bad_url")
        elsewhere = Connections(found, self._timeout_seconds)
        try:
            return self._send(method, found.raw_path, list(_for_anybody(found).items()), None, expect, elsewhere).body
        finally:
            elsewhere.close()

    def _with_body(
        self, method: str, headers: Mapping[str, str] | None, json_body: Any
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """What is sent with a call that isn't like all others."""
        sent = dict(self._headers)
        content = None
        if json_body is not None:
            content = json.dumps(json_body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            sent[b"content-type"] = b"application/json"
        if content is not None or method in _SAYS_LENGTH:
            sent[b"content-length"] = str(len(content or b"")).encode()
        return list(_merged(sent, headers).items()), content

    def _send(
        self,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        content: bytes | None,
        expect: Collection[int],
        elsewhere: Connections | None = None,
    ) -> Received:
        """One call of an expected status, paced: the pacer hears of every answer, and of every silence."""
        pacer = self._pacer
        if pacer is not None:
            pacer.before_call(changes=changes(method))
        with self._counting:
            self.calls += 1
        said: Mapping[str, str] = {}
        error: ConnectorError | None = None
        try:
            answer = (elsewhere or self._connections).exchange(method, target, headers, content)
            said = answer.headers
            if answer.status not in expect:
                error = self._error(method, answer)
        except ConnectorError as raised:
            error = raised
            raise
        finally:
            if pacer is not None:
                pacer.after_call(said, error)
        if error is not None:
            raise error
        return answer

    def _error(self, method: str, answer: Received) -> ConnectorError:
        refined = self._refine(_as_httpx(method, answer)) if self._refine else None
        if refined is not None:
            return refined
        status = answer.status
        unknown = changes(method)
        if status in (401, 403):
            return CredentialsRefused("unauthorized" if status == 401 else "forbidden", status=status)
        if status == 429:
            return TemporarilyUnavailable(
                "rate_limited", status=status, retry_after_seconds=retry_after_seconds(answer.headers)
            )
        if status in (408, 425) or status >= 500:
            return TemporarilyUnavailable(
                "vendor_unavailable",
                status=status,
                effect_unknown=unknown,
                retry_after_seconds=retry_after_seconds(answer.headers),
            )
        if 300 <= status < 400:
            return AnswerNotUnderstood("redirect", status=status)
        if status < 300:
            return AnswerNotUnderstood("unexpected_success", status=status, effect_unknown=unknown)
        return RequestRefused("refused", status=status)


def _for_anybody(url: httpx.URL) -> dict[bytes, bytes]:
    """What every call says, whoever is called."""
    return {
        b"host": url.netloc,
        b"accept": b"application/json",
        b"accept-encoding": b"gzip",
        b"user-agent": b"expunge",
    }


def _merged(headers: Mapping[bytes, bytes], more: Mapping[str, str] | None) -> dict[bytes, bytes]:
    return {**headers, **{name.lower().encode("ascii"): value.encode() for name, value in (more or {}).items()}}


def _as_httpx(method: str, answer: Received) -> httpx.Response:
    """The answer as a connector's `refine` sees it; its URL is nobody's business."""
    headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
    request = httpx.Request(method, "")
    return httpx.Response(answer.status, headers=headers, content=answer.body, request=request)


def _parse(answer: Received) -> Any:
    media_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise AnswerNotUnderstood("not_json", status=answer.status)
    return parse_vendor_json(answer.body, status=answer.status)
