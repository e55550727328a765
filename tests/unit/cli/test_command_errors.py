"""Whatever goes wrong around a command: short text, the documented exit code, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli.main import app

KEY = "xpg_stand-in"
ID = "2f1c1f3e-0000-4000-8000-000000000000"
Run = Callable[..., Result]


def problem(status: int, code: str) -> str:
    return json.dumps({"status": status, "code": code, "title": "A title", "detail": None, "errors": []})


@contextmanager
def answering(status: int, body: str, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=30)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with a key against this URL."""
    monkeypatch.delenv("EXPUNGE_API_KEY", raising=False)
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")

    def call(url: str, *arguments: str, key: Path | None = key_file) -> Result:
        options = ["--url", url, *(["--key-file", str(key)] if key else [])]
        result = CliRunner().invoke(app, [*(arguments or ("request", "list")), *options])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert KEY not in result.output
        return result

    return call


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "unauthenticated", 1),
        (403, "missing_scope", 1),
        (404, "not_found", 1),
        (409, "wrong_state", 1),
        (422, "validation", 1),
        (429, "too_many_calls", 1),
        (500, "internal", 2),
        (503, "unavailable", 2),
    ],
)
def test_a_refusal_is_1_and_a_service_that_can_not_answer_2(run: Run, status: int, code: str, exit_code: int) -> None:
    with answering(status, problem(status, code), {"Retry-After": "7"}) as url:
        result = run(url)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr == f"{status} {code}: A title\n  try again in 7 seconds\n"


@pytest.mark.parametrize("status", [200, 301, 401, 404, 502, 503])
@pytest.mark.parametrize("command", [("request", "list"), ("request", "import", "people.csv")], ids=["list", "import"])
def test_an_answer_from_something_else_is_2(
    run: Run, tmp_path: Path, status: int, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("kind\n")
    with answering(status, "<html>secret of the proxy</html>", {"Content-Type": "text/html"}) as url:
        result = run(url, *command)
    assert result.exit_code == 2
    assert "--url" in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"requests": [{}]}', "1"])
def test_json_of_another_form_is_2(run: Run, body: str) -> None:
    with answering(200, body) as url:
        result = run(url)
    assert (result.exit_code, "--url" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "", "ftp://x", "http://", "http://[", "http://x:99999", "http://u:p@x", "http://\x00"]
)
def test_an_unusable_url_is_2(run: Run, url: str) -> None:
    result = run(url)
    assert (result.exit_code, "--url" in result.stderr) == (2, True)
    assert "u:p" not in result.output


def test_a_server_that_is_not_there_is_2(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = run(f"http://127.0.0.1:{port}")
    assert result.exit_code == 2
    assert f"can't connect to http://127.0.0.1:{port}" in result.stderr


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:9", "127.0.0.1"])
def test_an_unusable_proxy_is_2(run: Run, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert run("http://127.0.0.1:9").exit_code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't read other: No such file or directory"),
        (b"", "other is empty"),
        (b" \n", "other is empty"),
        (b"\xff\xfe", "other isn't UTF-8"),
        ("schlüssel".encode(), "other holds no API key"),
        (b"two words", "other holds no API key"),
        (b"two\nlines", "other holds no API key"),
    ],
)
def test_an_unusable_key_file_is_2(run: Run, tmp_path: Path, content: bytes | None, said: str) -> None:
    other = tmp_path / "other"
    if content is not None:
        other.write_bytes(content)
    result = run("http://127.0.0.1:9", key=other)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_directory_is_no_key_file(run: Run, tmp_path: Path) -> None:
    result = run("http://127.0.0.1:9", key=tmp_path)
    assert (result.exit_code, "Is a directory" in result.stderr) == (2, True)


def test_without_a_key_both_ways_to_give_one_are_named(run: Run) -> None:
    result = run("http://127.0.0.1:9", key=None)
    assert result.exit_code == 2
    assert "--key-file" in result.stderr
    assert "EXPUNGE_API_KEY" in result.stderr


# --- the program itself -----------------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-c", "from service.cli.entry import main; main()"]


def started(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "EXPUNGE_API_KEY": KEY}
    return subprocess.Popen([*PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE, **more)


def test_a_reader_that_ends_is_no_error() -> None:
    page = {"requests": [_request(number) for number in range(2000)], "next_cursor": None}
    with answering(200, json.dumps(page)) as url:
        process = started("request", "list", "--url", url, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"id\t")
        process.stdout.close()
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (141, b"")


def test_ctrl_c_is_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        never_answers.settimeout(120)
        process = started(
            "request", "list", "--url", f"http://127.0.0.1:{never_answers.getsockname()[1]}", stdout=subprocess.PIPE
        )
        connection, _ = never_answers.accept()
        with connection:
            connection.recv(1024)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert out == b""


@pytest.mark.parametrize(("answer", "exit_code"), [("y", 0), ("n", 1), ("", 1)])
def test_cancelling_an_import_asks_on_a_terminal(answer: str, exit_code: int) -> None:
    view: dict[str, Any] = {
        "id": ID,
        "state": "running",
        "format": "csv",
        "accepted": 7,
        "received_at": None,
        "overdue": 0,
    }
    view["requests"] = [
        {"state": "open", "reason": None, "requests": 3},
        {"state": "fulfilled", "reason": None, "requests": 4},
    ]
    master, slave = os.openpty()
    with answering(200, json.dumps(view)) as url:
        process = subprocess.Popen(
            [*PROGRAM, "imports", "cancel", ID, "--url", url],
            env={**os.environ, "EXPUNGE_API_KEY": KEY},
            stdin=slave,
            stderr=slave,
            stdout=subprocess.PIPE,
        )
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(master, 1024)
        os.write(master, answer.encode() + b"\n")
        out, _ = process.communicate(timeout=120)
    os.close(slave)
    os.close(master)
    assert b"revokes 3 unfinished requests" in shown
    assert process.returncode == exit_code
    assert (ID.encode() in out) == (exit_code == 0)


def _request(number: int) -> dict[str, Any]:
    return {
        "id": f"2f1c1f3e-0000-4000-8000-{number:012}",
        "state": "open",
        "reason": None,
        "kind": "erasure",
        "regime": "gdpr",
        "respond_by": "2026-12-20T23:59:59Z",
        "steps": 0,
        "steps_ended": 0,
        "steps_parked": 0,
        "overdue": False,
        "external_reference": None,
    }


def test_a_configuration_without_systems_is_said(tmp_path: Path) -> None:
    config = tmp_path / "expunge.toml"
    config.write_text(f'[service]\ndata_directory = "{tmp_path / "data"}"\n')
    checked = CliRunner().invoke(app, ["systems", "check", "--config", str(config)])
    assert checked.exit_code == 0, checked.output
    assert checked.stderr == "expunge.toml connects no system: add a [[systems]] entry for each\n"
