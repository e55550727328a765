"""Limit connections: their number in total and per client, and the time of a request's arrival.

uvicorn limits requests that run and connections that are idle after an answer. It waits without end for the head of a
request and for its body, so a few hundred connections that send nothing would block all clients (observed with 210).

A connection is in one of three phases: it waits for a head, it receives a body, or it is answered. Time is limited
where the client is awaited: for a head, for a body unless this process itself has stopped reading, and for the reading
of an answer. Where there are too many connections, one that waits for its client makes room for a new one; only if
there is none, the new one is refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

_SWEEP_SECONDS = 0.25
# A body that is this far behind its least rate makes room for a new connection.
_BEHIND_SECONDS = 2.0
_NO_ADDRESS = "none"


class Phase(StrEnum):
    """The phase of a connection."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


class Ended(StrEnum):
    """The reason why a connection was refused or ended before its client had an answer."""

    TOO_MANY = "too_many_connections"
    FULL = "unavailable"
    SLOW = "too_slow"
    MADE_ROOM = "made_room"


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of number and time.

    `unlimited`: networks whose addresses have no limit per client.
    """

    max_connections: int
    max_connections_per_client: int
    header_timeout_seconds: float
    body_timeout_seconds: float
    min_body_bytes_per_second: float
    unlimited: tuple[IPv4Network | IPv6Network, ...] = ()


class Connection(Protocol):
    """A connection as the gate sees and ends it."""

    @property
    def client_address(self) -> str | None:
        """The peer's address; None for a socket without one."""

    @property
    def phase(self) -> Phase:
        """The present phase."""

    @property
    def is_paused(self) -> bool:
        """True while this process doesn't read from it."""

    @property
    def is_ending(self) -> bool:
        """True when it was closed, or while its client doesn't read the answer."""

    def end(self, reason: Ended) -> None:
        """Send the reason if the client has sent a request, and close."""

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""


@dataclass
class _Watched:
    client: str | None
    seconds_left: float
    number: int
    phase: Phase = Phase.HEAD


class ConnectionGate:
    """All connections of one listener. Used by the event loop's thread only."""

    def __init__(self, limits: ConnectionLimits, note: Callable[[Ended], None]) -> None:
        """Create the gate; `note` is called for every connection that a limit ended."""
        self._limits = limits
        self._note = note
        self._watched: dict[Connection, _Watched] = {}
        self._of_client: Counter[str] = Counter()
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = 0.0

    def enter(self, connection: Connection) -> Ended | None:
        """Let a new connection in, in another one's place if need be; or the reason why it can't be let in."""
        client = self._client(connection.client_address)
        if (
            client is not None
            and self._of_client[client] >= self._limits.max_connections_per_client
            and not self._make_room(client)
        ):
            self._note(Ended.TOO_MANY)
            return Ended.TOO_MANY
        if len(self._watched) >= self._limits.max_connections and not self._make_room(None):
            self._note(Ended.FULL)
            return Ended.FULL
        self._number += 1
        self._watched[connection] = _Watched(client, self._limits.header_timeout_seconds, self._number)
        if client is not None:
            self._of_client[client] += 1
        if self._timer is None:
            self._schedule()
        return None

    def leave(self, connection: Connection) -> None:
        """Forget a connection that was lost; unknown ones were never let in."""
        watched = self._watched.pop(connection, None)
        if watched is None or watched.client is None:
            return
        self._of_client[watched.client] -= 1
        if not self._of_client[watched.client]:
            del self._of_client[watched.client]

    def received(self, connection: Connection, size: int) -> None:
        """Count received bytes. Those of a body earn time; those of a head don't."""
        watched = self._watched.get(connection)
        if watched is None:
            return
        self._follow(connection, watched)
        if watched.phase is Phase.BODY:
            earned = watched.seconds_left + size / self._limits.min_body_bytes_per_second
            watched.seconds_left = min(earned, self._limits.body_timeout_seconds)

    def _follow(self, connection: Connection, watched: _Watched) -> None:
        """Give a connection the time of its new phase."""
        if connection.phase is watched.phase:
            return
        watched.phase = connection.phase
        watched.seconds_left = (
            self._limits.header_timeout_seconds if watched.phase is Phase.HEAD else self._limits.body_timeout_seconds
        )

    def _make_room(self, client: str | None) -> bool:
        """End one connection (of this client, or of any) that waits for its client. False if there is none."""
        candidates = [
            (connection, watched)
            for connection, watched in self._watched.items()
            if (client is None or watched.client == client) and self._is_waiting(watched)
        ]
        if not candidates:
            return False
        # A head costs its client nothing to send again; of these the one that was let in first.
        connection, _ = min(candidates, key=lambda c: (c[1].phase is Phase.BODY, c[1].number))
        self._end(connection, Ended.MADE_ROOM)
        return True

    def _is_waiting(self, watched: _Watched) -> bool:
        if watched.phase is Phase.BODY:
            return watched.seconds_left <= self._limits.body_timeout_seconds - _BEHIND_SECONDS
        return watched.phase is Phase.HEAD

    def _end(self, connection: Connection, reason: Ended) -> None:
        self._note(reason)
        self.leave(connection)
        connection.end(reason)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._swept_at = loop.time()
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Take the time that went by from all that wait for their clients; end those that have none left."""
        # Not the whole of a pause in which this process was stopped: no client could be heard then.
        gone = min(asyncio.get_running_loop().time() - self._swept_at, 4 * _SWEEP_SECONDS)
        for connection, watched in list(self._watched.items()):
            self._follow(connection, watched)
            if connection.is_ending:
                watched.seconds_left -= gone
                if watched.seconds_left <= 0:
                    self._note(Ended.SLOW)
                    self.leave(connection)
                    connection.abort()
            elif watched.phase is not Phase.ANSWER and not connection.is_paused:
                watched.seconds_left -= gone
                if watched.seconds_left <= 0:
                    self._end(connection, Ended.SLOW)
            elif watched.phase is Phase.ANSWER:
                watched.seconds_left = self._limits.body_timeout_seconds
        self._timer = None
        if self._watched:
            self._schedule()

    def _client(self, address: str | None) -> str | None:
        """Return the key of a connection's client: its IPv4 address or its IPv6 /64, which one host may own."""
        try:
            found = ip_address((address or _NO_ADDRESS).partition("%")[0])
        except ValueError:
            return None  # a socket of this machine without an address
        mapped = getattr(found, "ipv4_mapped", None)
        found = mapped or found
        if any(found in network for network in self._limits.unlimited):
            return None
        return str(found) if found.version == 4 else str(ip_network((found, 64), strict=False))


REFUSALS: Mapping[Ended, tuple[int, str]] = {
    Ended.TOO_MANY: (429, "too_many_connections"),
    Ended.FULL: (503, "unavailable"),
    Ended.SLOW: (408, "too_slow"),
    Ended.MADE_ROOM: (408, "too_slow"),
}
"""Status and problem code of each reason."""
