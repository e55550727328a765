"""uvicorn's HTTP/1.1 protocol behind a `ConnectionGate`; its own answers are problems, too."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.api.middleware import RAW_HEADERS
from service.api.problems import Trouble, problem_response
from service.api.server.connection_limits import REFUSALS, ConnectionGate, Ended, Phase


def limited_protocol(gate: ConnectionGate) -> type[asyncio.Protocol]:
    """Return the class of uvicorn's connections, which share the gate."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"gate": gate})


class _LimitedProtocol(H11Protocol):
    gate: ClassVar[ConnectionGate]
    _something_came = False
    _writing_stopped = False

    @property
    def client_address(self) -> str | None:
        """The address of the peer."""
        return None if self.client is None else self.client[0]

    @property
    def phase(self) -> Phase:
        """The phase of this connection."""
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEAD
        return Phase.ANSWER

    @property
    def is_paused(self) -> bool:
        """True while the application has enough to do with what it was given already."""
        # After the answer the body isn't read, and further bytes must not keep the connection open.
        return self.flow.read_paused and not self.cycle.response_complete

    @property
    def is_ending(self) -> bool:
        """True while only the client's reading is awaited."""
        return self.transport.is_closing() or self._writing_stopped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept the connection, or refuse it before a byte is read."""
        super().connection_made(transport)
        refused = self.gate.enter(self)
        if refused is not None:
            self._something_came = True
            self.end(refused)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.gate.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the received bytes, then pass them to uvicorn."""
        if self.transport.is_closing():
            return
        self._something_came = True
        super().data_received(data)
        self.gate.received(self, len(data))

    def on_response_complete(self) -> None:
        """The next request begins from nothing."""
        self._something_came = False
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._writing_stopped = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writing_stopped = False
        super().resume_writing()

    def end(self, reason: Ended) -> None:
        """Send the reason, unless the client sent no request or has a part of an answer; then close."""
        self._end_with(*REFUSALS[reason])

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer input that isn't HTTP with a problem."""
        self._end_with(400, "malformed_http")

    def _end_with(self, status: int, code: str) -> None:
        cycle = self.cycle
        running = cycle is not None and not cycle.response_complete
        stuck = self.transport.get_write_buffer_size() > 0
        if self._something_came and not stuck and not (running and cycle.response_started):
            self.transport.write(_answer(status, code))
        if running:
            # The application hears that its client is gone, and nothing more is written.
            cycle.disconnected = True
            cycle.message_event.set()
        if stuck:
            # Closing would wait for a client that doesn't read.
            self.transport.abort()
        else:
            self.transport.close()


def _answer(status: int, code: str) -> bytes:
    """Return a whole answer as bytes."""
    retry = {"Retry-After": "2"} if status in (429, 503) else {}
    answer = problem_response(Trouble(status, code, headers={"Connection": "close", **retry}))
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in (*answer.raw_headers, *RAW_HEADERS)]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
