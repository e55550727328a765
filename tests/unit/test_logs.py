"""What a log line may hold of an exception: its type and where it was raised, never its text."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog

from service import logs

CANARY = "ada.canary@example.test"


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


def fail_as_celery_does() -> None:
    """Celery puts the exception's text into the arguments of its own line."""
    try:
        int(f"duplicate key: ({CANARY})")
    except ValueError as error:
        context = {"name": "expunge.work_system", "id": "1", "exc": repr(error)}
        logging.getLogger("celery.app.trace").error(
            "Task %(name)s[%(id)s] raised unexpected: %(exc)s", context, exc_info=True, extra={"data": context}
        )


@pytest.mark.usefixtures("_restored")
def test_a_failed_task_is_logged_without_the_exceptions_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure_logs()
    fail_as_celery_does()

    said = capfd.readouterr().err
    assert CANARY not in said
    assert "ValueError" in said
    assert "expunge.work_system" in said


@pytest.mark.usefixtures("_restored")
def test_without_the_rule_the_text_would_be_there(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_no_text_of_exceptions", lambda logger, method, event: event)
    logs.configure_logs()
    fail_as_celery_does()

    assert CANARY in capfd.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def log_as_everybody_does() -> None:
    """One event of ours, and lines of the libraries that log into the same place."""
    structlog.get_logger("service.here").warning("something_happened", system="support", count=3)
    for name in ("uvicorn.error", "celery.worker", "sqlalchemy.pool", "alembic.runtime.migration"):
        logging.getLogger(name).warning("Waiting for %s", "connections")
    warnings.warn("an old name is used", DeprecationWarning, stacklevel=1)


@pytest.mark.usefixtures("_restored")
def test_into_a_file_every_line_is_one_object(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure_logs()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_as_everybody_does()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines[:2]] == ["something_happened", "Waiting for connections"]
    assert (lines[0]["system"], lines[0]["count"], lines[0]["level"]) == ("support", 3, "warning")
    assert [line["logger"] for line in lines[1:]] == [
        "uvicorn.error", "celery.worker", "sqlalchemy.pool", "alembic.runtime.migration", "py.warnings",
    ]  # fmt: skip
    assert all(set(line) >= {"event", "level", "logger", "timestamp"} for line in lines)


@pytest.mark.usefixtures("_restored")
def test_on_a_terminal_lines_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure_logs()
    log_as_everybody_does()
    said = terminal.getvalue()
    assert "something_happened" in said
    assert "Waiting for connections" in said
    assert "{" not in said.splitlines()[0]


@pytest.mark.usefixtures("_restored")
def test_a_lost_coroutine_is_logged_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure_logs()

    async def fail() -> None:
        raise ValueError(CANARY)

    async def main() -> None:
        lost = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        del lost

    asyncio.run(main())
    said = capfd.readouterr().err
    assert "Task exception was never retrieved" in said
    assert "ValueError" in said
    assert CANARY not in said


@pytest.mark.parametrize("where", ["main", "thread"])
def test_an_uncaught_exception_is_logged_without_its_text(where: str) -> None:
    script = (
        "import threading\nfrom service.logs import configure_logs\nconfigure_logs()\n"
        f"def fail():\n    raise ValueError('{CANARY}')\n"
    ) + ("fail()" if where == "main" else "t = threading.Thread(target=fail); t.start(); t.join()")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    line = json.loads(done.stderr)
    assert (line["event"], line["error"]) == ("uncaught_exception", "ValueError")
    assert CANARY not in done.stderr
