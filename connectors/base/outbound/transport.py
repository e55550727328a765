"""Carry out calls, one at a time per connection, bounded in time and size.

This transport is between httpx and httpcore, under every client. It adds: the target is checked, the whole call has an
end, an answer's packed and unpacked size are limited, and a connection isn't used again after it received more bytes
than its answer has.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from connectors.base.destinations import NetworkRules, Proxy, UrlRefused, parse_host
from connectors.base.outbound.deadlines import deadline
from connectors.base.outbound.network import GuardedNetwork, Resolve, system_resolver
from connectors.base.outbound.proxies import proxy_for
from connectors.base.outbound.trust import trust

MAX_BODY_BYTES = 10 * 1024 * 1024
BODY_LIMIT = "max_body_bytes"
"""A request's extension of this name is that call's own limit for the body."""

# As httpx has it: many servers close what is idle for longer.
_KEPT_ALIVE_SECONDS = 5.0
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS
_GZIPPED = frozenset({"gzip", "x-gzip"})
_LINE_BREAK = re.compile(rb"[\n\r\0]")
_Origin = tuple[str, str, int]


class TargetRefused(httpx.RequestError):
    """The URL leads where this client may not go. Nothing was sent."""


class Unsendable(httpx.LocalProtocolError):
    """A header that HTTP can't carry. Nothing was sent."""


class BodyTooLarge(httpx.DecodingError):
    """The answer is larger than allowed, packed or unpacked."""

    def __init__(self, status: int) -> None:
        super().__init__("body too large")
        self.status = status


class Undecodable(httpx.DecodingError):
    """The answer is packed in a way that wasn't asked for, or is damaged."""

    def __init__(self, status: int) -> None:
        super().__init__("undecodable")
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes of one call. `silence_seconds`: the longest wait for the next byte."""

    connect_seconds: float
    silence_seconds: float
    deadline_seconds: float
    max_body_bytes: int = MAX_BODY_BYTES

    def as_httpcore(self) -> dict[str, float]:
        """The form in which httpcore takes limits of time."""
        silence = self.silence_seconds
        return {"connect": self.connect_seconds, "read": silence, "write": silence, "pool": silence}


class _Lane:
    """One connection to one origin, for one call at a time."""

    def __init__(self, connection: httpcore.HTTPConnection | httpcore.ConnectionPool, origin: _Origin) -> None:
        self._connection = connection
        self.origin = origin
        self.used_at = time.monotonic()

    def call(self, request: httpx.Request, limit: int) -> tuple[httpcore.Response, bytes]:
        """Send the request and read the whole answer, of `limit` bytes at most.

        A hostile or broken vendor must not fill our memory. Raises httpcore's errors, BodyTooLarge.
        """
        answer = self._connection.handle_request(_for_httpcore(request))
        try:
            chunks: list[bytes] = []
            size = 0
            for chunk in answer.iter_stream():
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge(answer.status)
                chunks.append(chunk)
        finally:
            answer.close()
        return answer, b"".join(chunks)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def is_usable(self) -> bool:
        """True if neither side has closed it. A pool (a proxy's) looks by itself before each call."""
        if isinstance(self._connection, httpcore.ConnectionPool):
            return True
        # httpcore closes it after an answer with `Connection: close` or in HTTP/1.0; `has_expired` is false then.
        return not (self._connection.is_closed() or self._connection.has_expired())

    def is_idle_for_long(self) -> bool:
        """True if the vendor will have closed it, or soon will."""
        return time.monotonic() - self.used_at > _KEPT_ALIVE_SECONDS

    def has_surplus(self) -> bool:
        """Return True if bytes are left after the answer, or if httpcore no longer shows them.

        The next call, about another person, would take them for its answer. HTTP/2 names the call with each piece.
        """
        held = self._connection
        connection: object = next(iter(held.connections), None) if isinstance(held, httpcore.ConnectionPool) else held
        while (inner := getattr(connection, "_connection", None)) is not None:
            connection = inner
        if isinstance(connection, httpcore.HTTP2Connection):
            return False
        state = getattr(connection, "_h11_state", None)
        return state is None or bool(state.trailing_data[0])


class StrictTransport(httpx.BaseTransport):
    """For several threads. Each call has a connection to itself, the one that was used last.

    Not one shared pool: httpcore's HTTP/2 connections mix the calls of threads up (encode/httpx discussion 3279,
    pydantic/httpx2 #1153, read 2026-11-30), and its pool asks the operating system about every idle connection twice
    per call, under a lock that all threads wait for. There are as many connections as there were calls at once.
    """

    def __init__(
        self,
        rules: NetworkRules,
        limits: Limits,
        resolve: Resolve = system_resolver,
        believes: ssl.SSLContext | None = None,
    ) -> None:
        """`believes`: certificates of its own instead of `trust()`.

        Raises ConfigurationError if the environment's proxy or certificates can't be used.
        """
        self._rules = rules
        self._limits = limits
        self.extensions: Mapping[str, Any] = {"timeout": limits.as_httpcore()}
        """Extensions of each request for httpcore; a request without them gets them here."""
        self._network = GuardedNetwork(rules, resolve)
        self._proxy_network = GuardedNetwork(rules, resolve, is_proxy=True)
        self._trust = trust(http2=rules.http2) if believes is None else believes
        self._checked: Callable[[str, str], str] = lru_cache(maxsize=64)(self._check)
        self._lock = threading.Lock()
        self._idle: list[_Lane] = []
        self._is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call and return its whole answer, unpacked.

        The call is never repeated, and no redirect is followed. Raises httpx.RequestError.
        """
        scheme, host = request.url.scheme, request.url.raw_host.decode("ascii")
        self._checked(scheme, host)
        if _LINE_BREAK.search(b"".join([value for _, value in request.headers.raw])):
            raise Unsendable("a header that HTTP can't carry")
        request.extensions = {**request.extensions, **self.extensions}
        lane = self._take((scheme, host, request.url.port or (443 if scheme == "https" else 80)))
        limit = int(request.extensions.get(BODY_LIMIT, self._limits.max_body_bytes))
        goes_on = False
        try:
            with deadline(self._limits.deadline_seconds):
                answer, body = lane.call(request, limit)
                goes_on = not lane.has_surplus()
        except _HTTPCORE_ERRORS as error:
            raise _for_httpx(error) from error
        finally:
            self._give_back(lane, goes_on)
        return _unpacked(answer, body, limit)

    def close(self) -> None:
        """Close what is idle now, and what is in use when its call ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for lane in idle:
            lane.close()

    def _check(self, scheme: str, host: str) -> str:
        """Check the target by the rules.

        A proxy resolves a name by itself, so only the written address can be checked for it.
        """
        if scheme not in ("http", "https") or not host:
            raise httpx.UnsupportedProtocol("http and https only")
        try:
            self._rules.check_target(scheme, parse_host(host))
        except UrlRefused as refused:
            raise TargetRefused(str(refused)) from None
        return host

    def _take(self, origin: _Origin) -> _Lane:
        while (lane := self._take_idle(origin)) is not None:
            if lane.is_usable():
                return lane
            lane.close()
        return self._open(origin)

    def _take_idle(self, origin: _Origin) -> _Lane | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place].origin == origin:
                    return self._idle.pop(place)
        return None

    def _give_back(self, lane: _Lane, goes_on: bool) -> None:
        """Keep it if it can be used again, and close those that were idle for long."""
        closing = [] if goes_on else [lane]
        lane.used_at = time.monotonic()
        with self._lock:
            if goes_on and not self._is_closed:
                self._idle.append(lane)
            elif goes_on:
                closing.append(lane)
            while self._idle and self._idle[0].is_idle_for_long():
                closing.append(self._idle.pop(0))
        for each in closing:
            each.close()

    def _open(self, origin: _Origin) -> _Lane:
        """One connection; a pool, which only a proxy needs, would cost 80 us per call."""
        scheme, host, port = origin
        proxy = proxy_for(self._rules, *origin)
        if proxy is None:
            to = httpcore.Origin(scheme.encode("ascii"), host.encode("ascii"), port)
            return _Lane(
                httpcore.HTTPConnection(
                    to,
                    ssl_context=self._trust,
                    keepalive_expiry=_KEPT_ALIVE_SECONDS,
                    http2=self._rules.http2,
                    network_backend=self._network,
                ),
                origin,
            )
        pool = httpcore.ConnectionPool(
            ssl_context=self._trust,
            proxy=_proxy_for_httpcore(proxy),
            max_connections=1,
            keepalive_expiry=_KEPT_ALIVE_SECONDS,
            http2=self._rules.http2,
            network_backend=self._proxy_network,
        )
        return _Lane(pool, origin)


def _proxy_for_httpcore(proxy: Proxy) -> httpcore.Proxy:
    url = httpcore.URL(scheme=b"http", host=proxy.host.encode("ascii"), port=proxy.port, target=b"/")
    return httpcore.Proxy(url, auth=proxy.auth)


def _for_httpcore(request: httpx.Request) -> httpcore.Request:
    """The same request for httpcore, as httpx's own transport words it."""
    assert isinstance(request.stream, httpx.SyncByteStream)
    url = request.url
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return httpcore.Request(
        request.method, target, headers=request.headers.raw, content=request.stream, extensions=request.extensions
    )


# httpcore's errors have the names of httpx's; one that is derived here (AddressRefused, ...) is its base's for httpx.
_HTTPCORE_ERRORS: tuple[type[Exception], ...] = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _for_httpx(error: Exception) -> httpx.RequestError:
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] == "httpcore":
            found: type[httpx.RequestError] = getattr(httpx, kind.__name__)
            return found(str(error))
    raise TypeError(f"{type(error).__name__} isn't httpcore's")


def _unpacked(answer: httpcore.Response, body: bytes, limit: int) -> httpx.Response:
    """Return the answer with its body unpacked, because httpx itself would unpack without a limit."""
    headers = answer.headers
    packed = [value for name, value in headers if name.lower() == b"content-encoding"]
    if packed:
        encoding = b", ".join(packed).decode("latin-1").strip().lower()
        if body and encoding != "identity":
            body = _gunzipped(body, encoding, answer.status, limit)
        headers = [(name, value) for name, value in headers if name.lower() != b"content-encoding"]
    return httpx.Response(
        answer.status, headers=headers, stream=httpx.ByteStream(body), extensions=dict(answer.extensions)
    )


def _gunzipped(body: bytes, encoding: str, status: int, limit: int) -> bytes:
    """Within the same limit: a few kilobytes of gzip can be gigabytes."""
    if encoding not in _GZIPPED:
        raise Undecodable(status)
    unpacking = zlib.decompressobj(_WITH_GZIP_HEADER)
    try:
        found = unpacking.decompress(body, limit)
    except zlib.error:
        raise Undecodable(status) from None
    if unpacking.unconsumed_tail:
        raise BodyTooLarge(status)
    if not unpacking.eof:
        raise Undecodable(status)
    return found
