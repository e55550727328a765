"""The API's process: its listeners are opened by the supervisor, and it counts as up when it answers.

The supervisor keeps the listeners open, so that a port that isn't free stops the start with a reason, and a client that
comes while the process is started again waits instead of being refused.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.api.server.listening import open_listeners, port_of
from service.cli.running.supervise import Child, Supervisor, python
from service.settings import Settings

NAME = "api"
_ASK = b"GET /healthz HTTP/1.1\r\nHost: expunge\r\nConnection: close\r\n\r\n"
_ASK_SECONDS = 5.0
_AGAIN_SECONDS = 0.1
_LINES = 5


class ApiDidNotStart(Exception):  # noqa: N818 - named after what is the matter
    """The API's process ended before it answered."""


@dataclass(frozen=True)
class Listeners:
    """Open sockets of the API and of the probes."""

    api: Sequence[socket.socket]
    probes: Sequence[socket.socket]

    @property
    def address(self) -> str:
        """The API's address, as a URL."""
        host = self.api[0].getsockname()[0]
        return f"http://[{host}]:{port_of(self.api)}" if ":" in host else f"http://{host}:{port_of(self.api)}"


@contextlib.contextmanager
def api_listeners(settings: Settings) -> Iterator[Listeners]:
    """The configured listeners, until the end of the context. Raises ConfigurationError."""
    service = settings.service
    with contextlib.ExitStack() as stack:
        api = open_listeners(service.listen_host, service.listen_port, "service.listen_port")
        for listener in api:
            stack.enter_context(listener)
        probes: list[socket.socket] = []
        if service.probe_port is not None:
            probes = open_listeners(service.listen_host, service.probe_port, "service.probe_port")
        for listener in probes:
            stack.enter_context(listener)
        yield Listeners(api, probes)


def api_child(config: str, listeners: Listeners) -> Child:
    """The process that serves at these listeners."""
    command = python("-m", "service.api.server", "--config", config)
    for option, some in (("--listener", listeners.api), ("--probe-listener", listeners.probes)):
        for listener in some:
            command += [option, str(listener.fileno())]
    descriptors = tuple(listener.fileno() for listener in (*listeners.api, *listeners.probes))
    return Child(NAME, command, descriptors=descriptors)


def wait_until_it_answers(supervisor: Supervisor, listeners: Listeners, logs: Path, over: threading.Event) -> None:
    """Return when the API answers, or `over` is set. Raises ApiDidNotStart if its process ends instead."""
    while not over.is_set():
        code = supervisor.first_end(NAME)
        if code is not None:
            raise ApiDidNotStart(f"the API ended with code {code}; {_end_of(logs / f'{NAME}.log')}")
        if _answers(listeners.api[0]):
            return
        over.wait(_AGAIN_SECONDS)


def _answers(listener: socket.socket) -> bool:
    with socket.socket(listener.family, socket.SOCK_STREAM) as connection:
        # The supervisor's own socket takes the connection before a process is there to answer.
        connection.settimeout(_ASK_SECONDS)
        try:
            connection.connect(listener.getsockname())
            connection.sendall(_ASK)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


def _end_of(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
    except OSError as error:
        return f"its log can't be read: {error.strerror}"
    return f"its log is {log} and ends:\n" + "\n".join(lines)
