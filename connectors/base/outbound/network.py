"""Open connections: resolve a name once, check its addresses, connect to a checked one.

httpcore calls this as its `network_backend`: the name stays the URL's for TLS (SNI, the certificate) and for the Host
header, and is never resolved a second time, so that a resolver that changes its answer changes nothing.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from connectors.base.destinations import Address, NetworkRules, literal
from connectors.base.outbound import deadlines

Resolve = Callable[[str, int], list[str]]
"""Gives the addresses of a name. Raises OSError."""

_LONGEST_SEND_BYTES = 64 * 1024


class AddressRefused(httpcore.ConnectError):
    """The host is at no address that may be reached. Nothing was sent."""


class NotTrusted(httpcore.ConnectError):
    """TLS failed: the certificate isn't believed, or it isn't TLS at all. Nothing was sent."""


class DeadlinePassed(httpcore.TimeoutException):
    """The call lasted too long as a whole, although the vendor wasn't silent."""


def system_resolver(host: str, port: int) -> list[str]:
    """Ask the operating system for the addresses of a name."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to the addresses that the rules permit.

    `is_proxy`: the only connections are those to a proxy, which the operator chose.
    """

    def __init__(self, rules: NetworkRules, resolve: Resolve = system_resolver, *, is_proxy: bool = False) -> None:
        self._rules = rules
        self._resolve = resolve
        self._is_proxy = is_proxy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises httpcore's ConnectError (AddressRefused) and ConnectTimeout."""
        refused: OSError | None = None
        for address in self._addresses(host, port, timeout):
            seconds = deadlines.within(timeout)
            if seconds is not None and seconds <= 0:
                raise httpcore.ConnectTimeout
            try:
                return TimedStream(socket.create_connection((str(address), port), timeout=seconds))
            except TimeoutError:
                raise httpcore.ConnectTimeout from None
            except OSError as error:
                refused = error
        raise httpcore.ConnectError(type(refused).__name__) from None

    def _addresses(self, host: str, port: int, timeout: float | None) -> list[Address]:
        own = literal(host)
        found = [own] if own is not None else self._resolved(host, port, timeout)
        permitted = found if self._is_proxy else self._rules.permitted(host, found)
        if not permitted:
            raise AddressRefused
        return permitted

    def _resolved(self, host: str, port: int, timeout: float | None) -> list[Address]:
        """The addresses of a name, or ConnectTimeout: getaddrinfo can't be told how long it may take."""
        answers: list[list[str] | OSError] = []

        def ask() -> None:
            try:
                answers.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.append(error if isinstance(error, OSError) else OSError("not a name"))

        asking = threading.Thread(target=ask, name="resolve", daemon=True)
        asking.start()
        asking.join(deadlines.within(timeout))
        if not answers:
            raise httpcore.ConnectTimeout
        if isinstance(answers[0], OSError):
            raise httpcore.ConnectError("name_not_resolved")
        addresses = [literal(text) for text in dict.fromkeys(answers[0])]
        return [address for address in addresses if address is not None]


class TimedStream(httpcore.NetworkStream):
    """A connection whose reads and writes end with the call's deadline or their limit on silence."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Raises ReadTimeout, DeadlinePassed, ReadError."""
        self._limit(timeout)
        try:
            return self._socket.recv(max_bytes)
        except TimeoutError:
            raise (DeadlinePassed if deadlines.is_over() else httpcore.ReadTimeout) from None
        except OSError as error:
            raise httpcore.ReadError(type(error).__name__) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Raises WriteTimeout, DeadlinePassed, WriteError."""
        left = memoryview(buffer)
        while left:
            self._limit(timeout)
            try:
                sent = self._socket.send(left[:_LONGEST_SEND_BYTES])
            except TimeoutError:
                raise (DeadlinePassed if deadlines.is_over() else httpcore.WriteTimeout) from None
            except OSError as error:
                raise httpcore.WriteError(type(error).__name__) from None
            left = left[sent:]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Start TLS within one limit for the whole handshake.

        Raises ConnectTimeout and ConnectError (NotTrusted). Python counts a handshake's limit from its beginning to its
        end, so that a server that sends it byte by byte gains nothing.
        """
        try:
            self._socket.settimeout(self._left(timeout))
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            self.close()
            raise httpcore.ConnectTimeout from None
        except ssl.SSLError:
            self.close()
            raise NotTrusted from None
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(type(error).__name__) from None
        return TimedStream(secured)

    def get_extra_info(self, info: str) -> Any:
        """Return a property that httpcore reads.

        An idle connection that `is_readable` can't be used again.
        """
        if info == "is_readable":
            return _is_readable(self._socket)
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        return self._socket if info == "socket" else None

    def _limit(self, timeout: float | None) -> None:
        seconds = deadlines.within(timeout)
        if seconds is not None and seconds <= 0:
            raise DeadlinePassed
        self._socket.settimeout(seconds)

    @staticmethod
    def _left(timeout: float | None) -> float | None:
        seconds = deadlines.within(timeout)
        if seconds is not None and seconds <= 0:
            raise TimeoutError
        return seconds


def _is_readable(connected: socket.socket) -> bool:
    if connected.fileno() < 0:
        return True
    if isinstance(connected, ssl.SSLSocket) and connected.pending():
        return True
    watching = select.poll()
    watching.register(connected.fileno(), select.POLLIN)
    return bool(watching.poll(0))
