"""Kept-alive connections to one origin, and one exchange over one of them: bounded, timed, trusted.

What httpx's client adds (cookies, redirects, proxies, URL objects) is what a vendor must not get or make us do, and
costs twice the call itself. Decides when a connection is used again and how an answer is unpacked; says nothing about
what it means. Nothing of what was sent or received gets into an error.
"""

from __future__ import annotations

import os
import ssl
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import httpx

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.toolkit.line import MAX_BODY_BYTES, Line, Place, changes

TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 5.0
# As httpx has it: many servers close what is idle for longer.
_KEPT_ALIVE_SECONDS = 5.0
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS
_GZIPPED = frozenset({"gzip", "x-gzip"})


@dataclass(frozen=True, slots=True)
class Received:
    """One answer as it came, unpacked. Names of headers are lower-case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def trust() -> ssl.SSLContext:
    """The system's trust, or the bundle that SSL_CERT_FILE or REQUESTS_CA_BUNDLE names."""
    return _context(os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE"))


@cache
def _context(bundle: str | None) -> ssl.SSLContext:
    """One context for all clients of the process: reading the certificates takes 50 ms."""
    context = ssl.create_default_context(cafile=bundle) if bundle else httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connections:
    """For several threads: each call has a line to itself, the one that was used last.

    Not `httpcore.ConnectionPool`: it asks the operating system about every idle connection twice per call, under a
    lock that all threads wait for. There are as many lines as there were calls at once.
    """

    def __init__(self, origin: httpx.URL, timeout_seconds: float | None = None) -> None:
        """`timeout_seconds`: the longest silence within one call."""
        self._can_be_reached = origin.scheme in ("http", "https") and bool(origin.host)
        seconds = timeout_seconds or TIMEOUT_SECONDS
        self._place = Place(
            host=origin.raw_host.decode("ascii"),
            port=origin.port or (443 if origin.scheme == "https" else 80),
            tls=trust() if origin.scheme == "https" else None,
            connect_seconds=min(seconds, CONNECT_TIMEOUT_SECONDS),
            silence_seconds=seconds,
        )
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._closed = False

    def close(self) -> None:
        """Close what is idle now, and what is in use when its call ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def exchange(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], content: bytes | None = None
    ) -> Received:
        """One call, and its whole answer. Never repeated, redirects not followed.

        Raises: TemporarilyUnavailable (`no_connection`, `timeout`, `connection_lost`), AnswerNotUnderstood
        (`body_too_large`, `undecodable`), RequestRefused (`unsendable`).
        """
        if not self._can_be_reached:
            raise TemporarilyUnavailable("no_connection")
        line = self._take()
        goes_on = False
        try:
            status, pairs, body = line.exchange(method, target, headers, content)
            goes_on = line.can_go_on()
        finally:
            self._give_back(line, goes_on)
        return _received(status, pairs, body, changes(method))

    def _take(self) -> Line:
        while True:
            with self._lock:
                line = self._idle.pop() if self._idle else None
            if line is None:
                return Line(self._place)
            if not line.is_stale(_KEPT_ALIVE_SECONDS):
                return line
            line.close()

    def _give_back(self, line: Line, goes_on: bool) -> None:
        """Keep it if it can be used again. The one that lay idle for longest is closed if that was too long."""
        closing = [line]
        with self._lock:
            if goes_on and not self._closed:
                closing.pop()
                self._idle.append(line)
                if len(self._idle) > 1 and self._idle[0].is_stale(_KEPT_ALIVE_SECONDS):
                    closing.append(self._idle.pop(0))
        for each in closing:
            each.close()


def _received(status: int, pairs: Iterable[tuple[bytes, bytes]], body: bytes, changed: bool) -> Received:
    headers = _named(pairs)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if body and encoding != "identity":
        body = _unpacked(body, encoding, status, changed)
    return Received(status, headers, body)


def _named(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; of one that comes several times all values, as RFC 9110 §5.3 joins them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
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
        raise AnswerNotUnderstood("body_too_large", status=status, effect_unknown=changed)
    if not unpacking.eof:
        raise AnswerNotUnderstood("undecodable", status=status, effect_unknown=changed)
    return unpacked
