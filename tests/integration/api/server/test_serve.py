"""The API as a process: it serves, says nothing of what it was asked, and ends when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from service.api.server.listening import open_listeners
from tests.integration.api.conftest import EMAIL, Office


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_the_process_serves_and_logs_no_urls(office: Office, tmp_path: Path) -> None:
    config, port = tmp_path / "expunge.toml", _free_port()
    config.write_text(f'[service]\ndata_directory = "{office.settings.service.data_directory}"\nlisten_port = {port}\n')
    environment = dict(os.environ) | {
        "EXPUNGE_DATABASE_URL": office.stores.engine.url.render_as_string(hide_password=False),
        "EXPUNGE_KEY_DATABASE_URL": office.stores._key_engine.url.render_as_string(hide_password=False),
    }
    command = [sys.executable, "-m", "service.api.server.serve", "--config", str(config)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            answer = _ask(process, f"http://127.0.0.1:{port}/readyz")
            headers = {"Authorization": f"Bearer {office.key.token}"}
            listed = httpx.get(f"http://127.0.0.1:{port}/v1/requests?cursor={EMAIL}", headers=headers)
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)

    assert (answer.status_code, listed.status_code) == (200, 422)
    assert "server" not in answer.headers
    assert EMAIL.encode() not in output
    assert b"/v1/requests" not in output
    assert office.key.token.encode() not in output


def _ask(process: subprocess.Popen[bytes], url: str) -> httpx.Response:
    while process.poll() is None:
        try:
            return httpx.get(url, verify=False)
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the process ended before it served")


def test_a_configuration_that_cannot_be_used_ends_with_2(tmp_path: Path) -> None:
    config = tmp_path / "expunge.toml"
    config.write_text("[service]\nlisten_prot = 1\n")

    ended = subprocess.run(
        [sys.executable, "-m", "service.api.server.serve", "--config", str(config)],
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 2
    assert b"listen_port" in ended.stderr


def test_an_answer_does_not_wait_for_acknowledgements() -> None:
    (listener,) = open_listeners("127.0.0.1", 0, "listen_port")
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
