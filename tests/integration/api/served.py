"""The API as a process of its own, with a configuration of the test's, and raw connections to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.integration.api.conftest import Office


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Served:
    """Where the process listens."""

    port: int
    probe_port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str, *, source: str = "127.0.0.1", seconds: float = 60.0) -> httpx.Response:
        """One GET on a new connection from an address of this machine."""
        transport = httpx.HTTPTransport(local_address=source)
        with httpx.Client(transport=transport, timeout=seconds) as client:
            return client.get(f"http://127.0.0.1:{self.port}{path}")

    def probe(self, path: str) -> int:
        """The status of a probe."""
        return httpx.get(f"http://127.0.0.1:{self.probe_port}{path}", verify=False, timeout=60).status_code

    def connect(self, sent: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
        """A connection over which so much, and no more, is sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(source, 0))
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        return connection


@contextlib.contextmanager
def served(office: Office, directory: Path, connections: str = "") -> Iterator[Served]:
    """The API over the office's stores until the end of the context."""
    config, port, probe_port = directory / "expunge.toml", free_port(), free_port()
    config.write_text(
        f'[service]\ndata_directory = "{office.settings.service.data_directory}"\n'
        f"listen_port = {port}\nprobe_port = {probe_port}\n[connections]\n{connections}\n"
    )
    environment = dict(os.environ) | {
        "EXPUNGE_DATABASE_URL": office.stores.engine.url.render_as_string(hide_password=False),
        "EXPUNGE_KEY_DATABASE_URL": office.stores._key_engine.url.render_as_string(hide_password=False),
    }
    command = [sys.executable, "-m", "service.api.server.serve", "--config", str(config)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        found = Served(port, probe_port, process)
        try:
            _wait(found)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def _wait(found: Served) -> None:
    while found.process.poll() is None:
        try:
            found.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the process ended before it served")


def answer_of(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes."""
    parts: list[bytes] = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)
