"""Kept-alive connections to one origin, and one exchange over one of them: bounded, timed, trusted.

Built on httpcore, the layer below httpx: what a client on top of it adds (cookies, redirects, proxies, URL objects) is
what a vendor must not get or make us do, and costs more than the call itself. Decides when a connection is used again;
says nothing about what an answer means. Nothing of what was sent or received gets into an error.
"""

from __future__ import annotations

import os
import ssl
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import httpcore
import httpx

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable

MAX_BODY_BYTES = 10 * 1024 * 1024
TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 5.0
# As httpx has it: many servers close what is idle for longer.
_KEPT_ALIVE_SECONDS = 5.0
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS
_GZIPPED = frozenset({"gzip", "x-gzip"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Received:
    """One answer as it came, unpacked. Names of headers are lower-case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def changes(method: str) -> bool:
    """True if a call of this method may change something at the vendor."""
    return method not in _SAFE_METHODS


def trust() -> ssl.SSLContext:
    """The system's trust, or the bundle that SSL_CERT_FILE or REQUESTS_CA_BUNDLE names."""
    return _context(os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE"))


@cache
def _context(bundle: str | None) -> ssl.SSLContext:
    """One context for all clients of the process: reading the certificates takes 50 ms."""
    return ssl.create_default_context(cafile=bundle) if bundle else httpx.create_ssl_context()


class Connections:
    """For several threads: each call has a connection to itself, the one that was used last.

    Not `httpcore.ConnectionPool`: it asks the operating system about every idle connection twice per call, under a
    lock that all threads wait for. Here the number of connections is the number of calls at once.
    """

    def __init__(self, origin: httpx.URL, timeout_seconds: float | None = None) -> None:
        """`timeout_seconds`: the longest silence within one call."""
        self._can_be_reached = origin.scheme in ("http", "https") and bool(origin.host)
        seconds = timeout_seconds or TIMEOUT_SECONDS
        self._port = origin.port or (443 if origin.scheme == "https" else 80)
        self._scheme, self._host = origin.raw_scheme, origin.raw_host
        self._tls = trust() if origin.scheme == "https" else None
        connect = min(seconds, CONNECT_TIMEOUT_SECONDS)
        self._extensions = {"timeout": {"connect": connect, "read": seconds, "write": seconds}}
        self._lock = threading.Lock()
        self._idle: list[httpcore.HTTPConnection] = []
        self._closed = False

    def close(self) -> None:
        """Close what is idle now, and what is in use when its call ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def exchange(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], content: bytes | None = None
    ) -> Received:
        """One call, and its whole answer. Never repeated, redirects not followed.

        Raises: TemporarilyUnavailable (`no_connection`, `timeout`, `connection_lost`), AnswerNotUnderstood
        (`body_too_large`, `undecodable`).
        """
        if not self._can_be_reached:
            raise TemporarilyUnavailable("no_connection")
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=self._scheme, host=self._host, port=self._port, target=target),
            headers=headers,
            content=content,
            extensions=self._extensions,
        )
        connection = self._take()
        try:
            return _read(connection.handle_request(request), changes(method))
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise TemporarilyUnavailable("no_connection") from None
        except httpcore.TimeoutException:
            raise TemporarilyUnavailable("timeout", effect_unknown=changes(method)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise TemporarilyUnavailable("connection_lost", effect_unknown=changes(method)) from None
        finally:
            self._give_back(connection)

    def _take(self) -> httpcore.HTTPConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                origin = httpcore.Origin(self._scheme, self._host, self._port)
                return httpcore.HTTPConnection(origin, self._tls, keepalive_expiry=_KEPT_ALIVE_SECONDS)
            if not connection.has_expired():  # too old, or the server has closed it
                return connection
            connection.close()

    def _give_back(self, connection: httpcore.HTTPConnection) -> None:
        """Keep it if its answer was read to the end. The one that lay idle for longest is closed if it is too old."""
        closing = [connection]
        with self._lock:
            if not self._closed and connection.is_available():
                closing.pop()
                self._idle.append(connection)
                if len(self._idle) > 1 and self._idle[0].has_expired():
                    closing.append(self._idle.pop(0))
        for each in closing:
            each.close()


def _read(response: httpcore.Response, changed: bool) -> Received:
    """Read the body, and stop at MAX_BODY_BYTES: a hostile or broken vendor must not fill our memory."""
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise AnswerNotUnderstood("body_too_large", status=response.status)
            chunks.append(chunk)
    finally:
        response.close()
    headers = _named(response.headers)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if body and encoding != "identity":
        body = _unpacked(body, encoding, response.status, changed)
    return Received(response.status, headers, body)


def _named(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; of one that comes several times all values, as RFC 9110 §5.3 joins them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _unpacked(body: bytes, encoding: str, status: int, changed: bool) -> bytes:
    """What was packed, within the same limit: a few kilobytes of gzip can be gigabytes."""
    if encoding not in _GZIPPED:
        raise AnswerNotUnderstood("undecodable", status=status, effect_unknown=changed)
    unpacking = zlib.decompressobj(_WITH_GZIP_HEADER)
    try:
        unpacked = unpacking.decompress(body, MAX_BODY_BYTES)
    except zlib.error:
        raise AnswerNotUnderstood("undecodable", status=status, effect_unknown=changed) from None
    if unpacking.unconsumed_tail:
        raise AnswerNotUnderstood("body_too_large", status=status)
    if not unpacking.eof:
        raise AnswerNotUnderstood("undecodable", status=status, effect_unknown=changed)
    return unpacked
