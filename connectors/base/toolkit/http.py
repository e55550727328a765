"""One HTTP client for all connectors: kept-alive connections, time-outs, trust, and errors named after what comes next.

Decides how statuses become our errors; a connector says which statuses *it* understands. Nothing of an answer's text
or of a URL gets into an error or a log line: paths carry identifiers.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
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

# httpx logs every URL at INFO, and URLs carry identifiers.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

MAX_BODY_BYTES = 10 * 1024 * 1024
TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 5.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status the caller expected. `body` is parsed JSON, or None where the answer has no content."""

    status: int
    body: Any
    headers: httpx.Headers

    def field(self, name: str, kind: type[_T]) -> _T:
        """A field of the JSON object, of the expected type. Raises AnswerNotUnderstood."""
        return field_of(self.body, name, kind)


def field_of(body: Any, name: str, kind: type[_T]) -> _T:
    """`body[name]` if `body` is an object that has it in the expected type. Raises AnswerNotUnderstood."""
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise AnswerNotUnderstood(f"field_missing:{name.lower()}")
    return value


def trust() -> ssl.SSLContext:
    """The system's trust, or the bundle that SSL_CERT_FILE or REQUESTS_CA_BUNDLE names."""
    return _context(os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE"))


@cache
def _context(bundle: str | None) -> ssl.SSLContext:
    """One context for all clients of the process: reading the certificates takes 50 ms."""
    return ssl.create_default_context(cafile=bundle) if bundle else httpx.create_ssl_context()


class VendorClient:
    """HTTP to one system, for one thread or several. Counts its calls, and asks the system's pacer before each."""

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        refine: Callable[[httpx.Response], ConnectorError | None] | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """`refine` sees every answer of an unexpected status first and may name the error more exactly.

        `timeout_seconds` is the system's own (`SystemConfig.timeout_seconds`): the longest silence within one call.
        `pacer` is the system's own (`SystemConfig.pacer`).
        """
        seconds = timeout_seconds or TIMEOUT_SECONDS
        self.calls = 0
        self._counting = threading.Lock()
        self._pacer = pacer
        self._refine = refine
        self._client = httpx.Client(
            base_url=base_url,
            auth=auth,
            headers={"accept": "application/json", **(headers or {})},
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_SECONDS)),
            follow_redirects=False,
            verify=trust(),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._client.close()

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
        response = self._send(method, path, expect, params=params, json_body=json_body, headers=headers)
        if response.status_code in (204, 205) or (may_be_empty and not response.content):
            return Reply(response.status_code, None, response.headers)
        return Reply(response.status_code, _parse(response), response.headers)

    def download(self, method: str, url: str, *, expect: Collection[int] = (200,)) -> bytes:
        """The raw body of a URL; this client's credentials are not sent to another origin."""
        target = self._client.base_url.join(url)
        same = (target.scheme, target.host, target.port) == (
            self._client.base_url.scheme,
            self._client.base_url.host,
            self._client.base_url.port,
        )
        return self._send(method, url, expect, without_auth=not same).content

    def _send(
        self,
        method: str,
        path: str,
        expect: Collection[int],
        *,
        params: Mapping[str, str | int] | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        without_auth: bool = False,
    ) -> httpx.Response:
        """One call of an expected status, paced: the pacer hears of every answer, and of every silence."""
        if self._pacer is not None:
            self._pacer.before_call(changes=method not in ("GET", "HEAD"))
        with self._counting:
            self.calls += 1
        said: Mapping[str, str] = {}
        error: ConnectorError | None = None
        try:
            response = self._exchange(method, path, params, json_body, headers, without_auth=without_auth)
            said = response.headers
            if response.status_code not in expect:
                error = self._error(method, response)
        except ConnectorError as raised:
            error = raised
            raise
        finally:
            if self._pacer is not None:
                self._pacer.after_call(said, error)
        if error is not None:
            raise error
        return response

    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        json_body: Any,
        headers: Mapping[str, str] | None,
        *,
        without_auth: bool,
    ) -> httpx.Response:
        request = self._client.build_request(method, path, params=params, json=json_body, headers=headers)
        changes = method not in ("GET", "HEAD")
        try:
            if without_auth:
                request.headers.pop("authorization", None)
                response = self._client.send(request, stream=True, auth=None)
            else:
                response = self._client.send(request, stream=True)
            try:
                _read_limited(response)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise TemporarilyUnavailable("no_connection") from None
        except httpx.TimeoutException:
            raise TemporarilyUnavailable("timeout", effect_unknown=changes) from None
        except httpx.TransportError:
            raise TemporarilyUnavailable("connection_lost", effect_unknown=changes) from None
        except httpx.DecodingError:
            raise AnswerNotUnderstood("undecodable", effect_unknown=changes) from None
        return response

    def _error(self, method: str, response: httpx.Response) -> ConnectorError:
        refined = self._refine(response) if self._refine else None
        if refined is not None:
            return refined
        status = response.status_code
        unknown = method not in ("GET", "HEAD")
        if status in (401, 403):
            return CredentialsRefused("unauthorized" if status == 401 else "forbidden", status=status)
        if status == 429:
            return TemporarilyUnavailable(
                "rate_limited", status=status, retry_after_seconds=retry_after_seconds(response.headers)
            )
        if status in (408, 425) or status >= 500:
            return TemporarilyUnavailable(
                "vendor_unavailable",
                status=status,
                effect_unknown=unknown,
                retry_after_seconds=retry_after_seconds(response.headers),
            )
        if 300 <= status < 400:
            return AnswerNotUnderstood("redirect", status=status)
        if status < 300:
            return AnswerNotUnderstood("unexpected_success", status=status, effect_unknown=unknown)
        return RequestRefused("refused", status=status)


def _read_limited(response: httpx.Response) -> None:
    """Read the body, and stop at MAX_BODY_BYTES: a hostile or broken vendor must not fill our memory."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise AnswerNotUnderstood("body_too_large", status=response.status_code)
        chunks.append(chunk)
    response._content = b"".join(chunks)  # what httpx.Response.read does, with the limit


def _parse(response: httpx.Response) -> Any:
    media_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise AnswerNotUnderstood("not_json", status=response.status_code)
    try:
        return json.loads(response.content)
    except ValueError:
        raise AnswerNotUnderstood("bad_json", status=response.status_code) from None
