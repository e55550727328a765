"""`expunge up` says that it is up only when the API answers, and otherwise why not."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.cli.running.api_process import ApiDidNotStart, Listeners, wait_until_it_answers
from service.cli.running.supervise import Child, Supervisor, python

TOKEN = "refused-token-of-the-test"


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's tmp_path: it is 0700, and as root the servers' account must get there. Short, for the sockets.
    place = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    place.chmod(0o711)
    # A start in this process sets variables for its children; they end with the test.
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")}
    with patch.dict(os.environ, foreign, clear=True):
        yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def up(directory: Path, service: str, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """The command, ended at the end of the context; its standard error is read line by line."""
    config = directory / "expunge.toml"
    config.write_text(
        f'[service]\ndata_directory = "{directory}/data"\nworkers = 1\n{service}\n{more}', encoding="utf-8"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
    command = python("-m", "service.cli.main", "up", "--config", str(config))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)


def reason(directory: Path, service: str) -> tuple[int, str]:
    """Exit code and standard error of a start that can't succeed, in this process: Python's own start takes longer."""
    config = directory / "expunge.toml"
    config.write_text(f'[service]\ndata_directory = "{directory}/data"\nworkers = 1\n{service}\n', encoding="utf-8")
    done = CliRunner().invoke(app, ["up", "--config", str(config)])
    return done.exit_code, " ".join(done.stderr.split())


def reason_of_process(directory: Path, service: str) -> tuple[int, str]:
    """The same of a process, in which nothing keeps the start from asking for the address of any host."""
    with up(directory, service) as process:
        _, told = process.communicate(timeout=300)
        return process.returncode, " ".join(told.split())


def test_a_taken_port_stops_the_start_with_its_reason(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, told = reason_of_process(directory, f"listen_port = {port}")
    assert code == 2
    assert told == f"service.listen_port: can't listen on 127.0.0.1, port {port}: Address already in use"


def test_a_taken_probe_port_stops_the_start_with_its_reason(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told = reason(directory, f"listen_port = 0\nprobe_port = {taken.getsockname()[1]}")
    assert code == 2
    assert told.startswith("service.probe_port: can't listen on 127.0.0.1")


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "a..b", "x" * 300])
def test_a_foreign_address_stops_the_start_with_its_reason(directory: Path, host: str) -> None:
    code, told = reason_of_process(directory, f'listen_host = "{host}"\nlisten_port = 0')
    assert code == 2
    assert told.startswith("service.listen_")
    assert "Traceback" not in told


def test_an_api_that_ends_instead_of_answering_is_told_with_its_log(tmp_path: Path) -> None:
    script = "import sys; sys.stderr.write('why it ended'); sys.exit(3)"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Supervisor(os.environ, tmp_path) as supervisor,
    ):
        supervisor.add(Child("api", python("-c", script)))
        with pytest.raises(ApiDidNotStart, match=r"(?s)ended with code 3.*api\.log.*why it ended"):
            wait_until_it_answers(supervisor, Listeners([listener], []), tmp_path, threading.Event())


@pytest.mark.parametrize("kind", ["a file", "below a file", "logs", "keys"])
def test_a_data_directory_that_cannot_be_made_is_told_with_its_key(directory: Path, kind: str) -> None:
    place = directory / "data"
    if kind in ("a file", "below a file"):
        place.write_text("")
    else:
        place.mkdir()
        (place / kind).write_text("")
    config = directory / "expunge.toml"
    deeper = place / "deeper" if kind == "below a file" else place
    config.write_text(f'[service]\ndata_directory = "{deeper}"\nlisten_port = 0\n', encoding="utf-8")
    done = CliRunner().invoke(app, ["up", "--config", str(config)])
    assert done.exit_code == 2, done.stderr
    assert str(place) in done.stderr
    assert "Traceback" not in done.stderr


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tells nobody."""


@contextlib.contextmanager
def refusing_vendor() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.slow(seconds=36)
def test_a_refused_credential_is_told_at_the_start_and_listed(directory: Path) -> None:
    with refusing_vendor() as port:
        system = (
            f'[[systems]]\nname = "support"\nconnector = "zendesk"\nbase_url = "http://127.0.0.1:{port}"\n'
            'allow_private_hosts = ["127.0.0.1"]\n'
            f'[systems.credentials]\nemail = "privacy@example.test"\napi_token = "{TOKEN}"\n'
        )
        with up(directory, "listen_port = 0", system) as process:
            assert process.stderr is not None
            told = ""
            while "support: " not in told or "Expunge is up" not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
            address = re.search(r"http://127\.0\.0\.1:\d+", told)
            assert address is not None
            assert httpx.get(f"{address[0]}/readyz", verify=False, timeout=60).status_code == 200
            assert "unauthorized" in told
            assert TOKEN not in told
            config = str(directory / "expunge.toml")
            made = command("keys", "create", "--name", "test", "--scope", "systems:read", "--config", config)
            (directory / "key").write_text(made.splitlines()[0], encoding="utf-8")
            (directory / "key").chmod(0o600)
            listed = command("systems", "list", "--url", address[0], "--key-file", str(directory / "key"))
    assert re.search(r"failed:unauthorized", listed.replace("\n", ""))
    assert re.search(r"20\d\d-\d\d-\d\d", listed)


def command(*arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")} | {"COLUMNS": "300"}
    done = subprocess.run(
        python("-m", "service.cli.main", *arguments), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
