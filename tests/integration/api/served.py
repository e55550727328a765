"""The API's real server, with a configuration of the test's, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.api.server.listening import open_listeners, port_of
from service.api.server.serve import make_server, serve
from service.settings import load_settings
from tests.integration.api.conftest import Office


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Served:
    """Where it listens."""

    port: int
    probe_port: int

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
    """The API over the office's stores, in a thread: a process of its own takes three seconds to import it."""
    settings = load_settings(_configuration(office, directory, connections, 0, 0))
    server = make_server(office.stores, settings)
    with contextlib.ExitStack() as stack:
        api, probes = (open_listeners("127.0.0.1", 0, "listen_port") for _ in range(2))
        for listener in (*api, *probes):
            stack.enter_context(listener)
        found = Served(port_of(api), port_of(probes))
        run = serve(server, api, probes, office.stores, settings)
        thread = threading.Thread(target=asyncio.run, args=(run,), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield found
        finally:
            server.should_exit = True
            thread.join(timeout=60)
            assert not thread.is_alive()


@contextlib.contextmanager
def served_by_process(office: Office, directory: Path, connections: str = "") -> Iterator[Served]:
    """The same as the process that `expunge up` starts."""
    found = Served(free_port(), free_port())
    config = _configuration(office, directory, connections, found.port, found.probe_port)
    environment = dict(os.environ) | {
        "EXPUNGE_DATABASE_URL": office.stores.engine.url.render_as_string(hide_password=False),
        "EXPUNGE_KEY_DATABASE_URL": office.stores._key_engine.url.render_as_string(hide_password=False),
    }
    command = [sys.executable, "-m", "service.api.server.serve", "--config", str(config)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            _wait(found, process)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def _configuration(office: Office, directory: Path, connections: str, port: int, probe_port: int) -> Path:
    config = directory / "expunge.toml"
    ports = f"listen_port = {port}\nprobe_port = {probe_port}\n" if port else ""
    config.write_text(
        f'[service]\ndata_directory = "{office.settings.service.data_directory}"\n{ports}[connections]\n{connections}\n'
    )
    return config


def _wait(found: Served, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
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
