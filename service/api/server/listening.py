"""Open the listening sockets first, so that a port in use is a configuration error with its key."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from connectors.base.config import ConfigurationError

_BACKLOG = 2048


def open_listeners(host: str, port: int, key: str) -> list[socket.socket]:
    """One listening socket for each address of `host`, on the same port; 0 takes a free one.

    Raises ConfigurationError naming `key`, the address and the system's reason.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a host's name"
            raise ConfigurationError(f"service.listen_host: {host} has no address: {reason}") from None
        listeners: list[socket.socket] = []
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            wanted = (address[0], listeners[0].getsockname()[1], *address[2:]) if listeners and port == 0 else address
            try:
                listeners.append(stack.enter_context(_open(family, wanted)))
            except OSError as error:
                raise ConfigurationError(
                    f"{key}: can't listen on {wanted[0]}, port {wanted[1]}: {error.strerror}"
                ) from None
        stack.pop_all()
        return listeners


def _open(family: int, address: Sequence[object]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The IPv4 address has a socket of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted connections inherit it, and asyncio sets it only for sockets that name TCP themselves. Without it an
        # answer's body waits until the client has acknowledged the headers: 40 ms a call (measured 2026-12-01).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(tuple(address))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def adopted_listeners(descriptors: Sequence[int]) -> list[socket.socket]:
    """Listeners that the parent process opened and handed over."""
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def port_of(listeners: Sequence[socket.socket]) -> int:
    """The port that they listen on."""
    port: int = listeners[0].getsockname()[1]
    return port
