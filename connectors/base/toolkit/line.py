"""One connection to a vendor and the HTTP/1.1 that is spoken over it: one call, one answer, in turns.

The sockets, TLS and time-outs are httpcore's, the protocol is h11's: the two that httpx is built on, without what lies
between. Decides how much of an answer is read, and whether the line can be used again.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from dataclasses import dataclass

import h11
import httpcore

from connectors.base.errors import AnswerNotUnderstood, RequestRefused, TemporarilyUnavailable

MAX_BODY_BYTES = 10 * 1024 * 1024
_MAX_HEAD_BYTES = 100 * 1024
_READ_BYTES = 64 * 1024
_NETWORK = httpcore.SyncBackend()
_SAFE_METHODS = frozenset({"GET", "HEAD"})


def changes(method: str) -> bool:
    """True if a call of this method may change something at the vendor."""
    return method not in _SAFE_METHODS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line leads, and how long we wait there. `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_seconds: float
    silence_seconds: float


class Line:
    """An open connection. For one call at a time."""

    def __init__(self, place: Place) -> None:
        """Raises TemporarilyUnavailable (`no_connection`)."""
        try:
            self._stream = _NETWORK.connect_tcp(place.host, place.port, timeout=place.connect_seconds)
            if place.tls is not None:
                self._stream = self._stream.start_tls(place.tls, place.host, timeout=place.connect_seconds)
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise TemporarilyUnavailable("no_connection") from None
        self._silence_seconds = place.silence_seconds
        self._spoken = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._used_at = time.monotonic()

    def close(self) -> None:
        """End it."""
        self._stream.close()

    def exchange(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], content: bytes | None
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers (names in lower case) and body of the answer.

        Raises: TemporarilyUnavailable (`timeout`, `connection_lost`), AnswerNotUnderstood (`body_too_large`),
        RequestRefused (`unsendable`: a header that HTTP can't carry; nothing was sent).
        """
        try:
            said = self._worded(method, target, headers, content)
        except h11.LocalProtocolError:
            raise RequestRefused("unsendable") from None
        try:
            # Some refuse before they have read everything, and hang up: their answer is there to be read.
            with contextlib.suppress(httpcore.WriteError):
                self._stream.write(said, timeout=self._silence_seconds)
            return self._hear(changes(method))
        except httpcore.TimeoutException:
            raise TemporarilyUnavailable("timeout", effect_unknown=changes(method)) from None
        except (httpcore.NetworkError, h11.RemoteProtocolError):
            raise TemporarilyUnavailable("connection_lost", effect_unknown=changes(method)) from None

    def can_go_on(self) -> bool:
        """True after an answer that was read to its end, if both sides keep the line open. Asked once per answer.

        Not if more came than was asked for: it would be taken for the answer to the next call, about somebody else.
        """
        spoken = self._spoken
        if spoken.our_state is not h11.DONE or spoken.their_state is not h11.DONE or spoken.trailing_data[0]:
            return False
        spoken.start_next_cycle()
        self._used_at = time.monotonic()
        return True

    def is_stale(self, kept_seconds: float) -> bool:
        """True if it lay idle for too long, or the vendor has something to say while nobody asked: it hung up."""
        return time.monotonic() - self._used_at > kept_seconds or bool(self._stream.get_extra_info("is_readable"))

    def _worded(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], content: bytes | None) -> bytes:
        send = self._spoken.send
        said = send(h11.Request(method=method, target=target, headers=headers)) or b""
        if content:
            said += send(h11.Data(data=content)) or b""
        return said + (send(h11.EndOfMessage()) or b"")

    def _hear(self, changed: bool) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        spoken = self._spoken
        answer: h11.Response | None = None
        chunks: list[bytes] = []
        size = 0
        while True:
            event = spoken.next_event()
            if event is h11.NEED_DATA:
                spoken.receive_data(self._stream.read(_READ_BYTES, timeout=self._silence_seconds))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data) and answer is not None:
                size += len(event.data)
                if size > MAX_BODY_BYTES:
                    # A hostile or broken vendor must not fill our memory.
                    raise AnswerNotUnderstood("body_too_large", status=answer.status_code, effect_unknown=changed)
                chunks.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and answer is not None:
                return answer.status_code, list(answer.headers), b"".join(chunks)
            elif not isinstance(event, h11.InformationalResponse):
                raise TemporarilyUnavailable("connection_lost", effect_unknown=changed)
