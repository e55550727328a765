"""What a log line may hold of an exception: its type and where it was raised, never its text."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from service import logs

CANARY = "ada.canary@example.test"


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


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
