"""One HTTP client for all connectors: httpx over the strict transport, paced, with our own errors.

Decides how statuses become our errors, which are named after the engine's next move; a connector names the statuses
that it understands itself. No text of an answer and no URL gets into an error or a log line, because paths carry
identifiers.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from connectors.base.config import ConfigurationError, SystemConfig
from connectors.base.destinations import NetworkRules, UrlRefused, parse_http_url
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.outbound.client import HEADERS, EventHooks, changes, connector_error, open_client, strict_transport
from connectors.base.outbound.urls import with_target
from connectors.base.pacing import Pacer, retry_after_seconds
from connectors.base.toolkit.target import request_target
from connectors.base.toolkit.vendor_json import parse_vendor_json

_WITHOUT_BODY = frozenset({204, 205})
_NOT_IN_A_QUERY = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]")
# Said with each call: httpx otherwise looks for a user and a password in each URL.
_NO_AUTH = httpx.Auth()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status the caller expected.

    `body` is parsed JSON, or None for an answer without content. Names of headers are lower-case.
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
    """HTTP to one system, for one thread or several.

    Counts its calls, and asks the system's pacer before each.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        deadline_seconds: float | None = None,
        network: NetworkRules | None = None,
        refine: Callable[[httpx.Response], ConnectorError | None] | None = None,
        pacer: Pacer | None = None,
        hooks: EventHooks | None = None,
    ) -> None:
        """`refine` sees every answer of an unexpected status first and may name the error more exactly.

        `auth` is the user and the password of Basic authentication. `timeout_seconds`, `deadline_seconds`, `network`
        and `pacer` are the system's own, which `for_system` fills in; without `network` only public addresses are
        called, over https.
        `hooks` are httpx's event hooks. No cookie is kept, and no redirect followed.
        Raises ConfigurationError if the environment's proxy or certificates can't be used.
        """
        self.calls = 0
        self._counting = threading.Lock()
        self._pacer = pacer
        self._refine = refine
        try:
            self._base = httpx.URL(base_url)
        except httpx.InvalidURL:
            raise ConfigurationError("base_url: no URL") from None
        self._base_path = self._base.raw_path.decode("ascii").partition("?")[0].rstrip("/")
        self._transport = strict_transport(network or NetworkRules(), timeout_seconds, deadline_seconds)
        own = {name.lower().encode("ascii"): value.encode() for name, value in (headers or {}).items()}
        if auth is not None:
            own[b"authorization"] = b"Basic " + base64.b64encode(":".join(auth).encode())
        self._for_anybody, self._own = HEADERS, {**HEADERS, **own}
        self._client = open_client(self._transport, hooks=hooks)
        # Over the same connections, without anything of ours: for what an answer's link leads to.
        self._stranger = open_client(self._transport, hooks=hooks)

    @classmethod
    def for_system(
        cls,
        system: SystemConfig,
        *,
        base_url: str | None = None,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        refine: Callable[[httpx.Response], ConnectorError | None] | None = None,
    ) -> VendorClient:
        """Return the client of a configured system, with the limits, rules and pacer of its entry."""
        return cls(
            system.base_url if base_url is None else base_url,
            auth=auth,
            headers=headers,
            refine=refine,
            timeout_seconds=system.timeout_seconds,
            deadline_seconds=system.deadline_seconds,
            network=system.network,
            pacer=system.pacer,
        )

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._transport.close()

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
        """Make one call. Return its answer only if the status is in `expect`.

        The body must then be JSON, unless the status is 204 or 205, or `may_be_empty` is set and the body is empty.

        Raises: TemporarilyUnavailable (408, 425, 429, 5xx, transport; `effect_unknown` when a non-GET may have been
        carried out), CredentialsRefused (401, 403), RequestRefused (other 4xx), AnswerNotUnderstood (all else).
        """
        content, sent = None, {name.lower(): value.encode() for name, value in (headers or {}).items()}
        if json_body is not None:
            content = json.dumps(json_body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            sent.setdefault("content-type", b"application/json")
        url = self._url(request_target(self._base_path, path, params))
        answer, said = self._send(self._client, method, url, expect, content, sent)
        if answer.status_code in _WITHOUT_BODY or (may_be_empty and not answer.content):
            return Reply(answer.status_code, None, said)
        return Reply(answer.status_code, _parse(answer, said), said)

    def download(self, method: str, url: str, *, expect: Collection[int] = (200,)) -> bytes:
        """The raw body of a URL, or of a path. Nothing that this client was given is sent to another origin.

        Raises as `request` does, and AnswerNotUnderstood (`bad_url`) for a link that no two programs read alike, that
        isn't encrypted although the system is, or that leads where the system's entry doesn't allow it.
        """
        if url.startswith("/") and not url.startswith("//"):
            path, _, query = url.partition("?")
            target = request_target(self._base_path, path) + (b"?" + _query(query) if query else b"")
            return self._send(self._client, method, self._url(target), expect)[0].content
        try:
            found = parse_http_url(url, takes_query=True)
        except UrlRefused:
            raise AnswerNotUnderstood("bad_url") from None
        base = parse_http_url(f"{self._base.scheme}://{self._base.netloc.decode('ascii')}")
        if found.scheme == "http" and base.scheme == "https":
            raise AnswerNotUnderstood("bad_url")
        client = self._client if found.origin == base.origin else self._stranger
        try:
            return self._send(client, method, httpx.URL(url), expect)[0].content
        except TemporarilyUnavailable as error:
            if error.code == "address_refused" and client is self._stranger:
                raise AnswerNotUnderstood("address_refused") from None
            raise

    def _worded(
        self,
        client: httpx.Client,
        method: str,
        url: httpx.URL,
        content: bytes | None,
        headers: Mapping[str, bytes] | None,
    ) -> httpx.Request:
        """Return the request with the client's own headers and these.

        `httpx.Client.build_request` takes three times as long, because it merges cookies, parameters and URLs that
        aren't there.
        """
        sent = self._own if client is self._client else self._for_anybody
        if headers:
            sent = {**sent, **{name.encode("ascii"): value for name, value in headers.items()}}
        return httpx.Request(
            method, url, headers=list(sent.items()), content=content, extensions=self._transport.extensions
        )

    def _url(self, target: bytes) -> httpx.URL:
        return with_target(self._base, target)

    def _send(
        self,
        client: httpx.Client,
        method: str,
        url: httpx.URL,
        expect: Collection[int],
        content: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> tuple[httpx.Response, Mapping[str, str]]:
        """Return the answer to one call, of an expected status, and its headers by their lower-case names.

        The pacer hears of every answer, and of every silence.
        """
        pacer = self._pacer
        if pacer is not None:
            pacer.before_call(changes=changes(method))
        with self._counting:
            self.calls += 1
        said: Mapping[str, str] = {}
        error: ConnectorError | None = None
        try:
            try:
                answer = client.send(self._worded(client, method, url, content, headers), auth=_NO_AUTH)
            except httpx.RequestError as raised:
                raise connector_error(raised, changed=changes(method)) from None
            # Read once: httpx.Headers goes through all of them for each name that it is asked for.
            said = dict(answer.headers.items())
            if answer.status_code not in expect:
                error = self._error(method, answer)
        except ConnectorError as raised:
            error = raised
            raise
        finally:
            if pacer is not None:
                pacer.after_call(said, error)
        if error is not None:
            raise error
        return answer, said

    def _error(self, method: str, answer: httpx.Response) -> ConnectorError:
        refined = self._refine(answer) if self._refine else None
        if refined is not None:
            return refined
        status = answer.status_code
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


def _query(text: str) -> bytes:
    return _NOT_IN_A_QUERY.sub(lambda found: quote(found[0], safe=""), text).encode("ascii")


def _parse(answer: httpx.Response, headers: Mapping[str, str]) -> Any:
    media_type = headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise AnswerNotUnderstood("not_json", status=answer.status_code)
    return parse_vendor_json(answer.content, status=answer.status_code)
