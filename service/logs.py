"""Logging for every process: events of codes and ids, never values, to standard error.

Decides the format (readable on a terminal, else one JSON object a line), that other libraries' lines have the same one,
and which libraries are silenced because their lines carry URLs, parameters or messages' bodies.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog

# httpx logs URLs; SQLAlchemy and kombu can log parameters and bodies.
_QUIET = ("httpx", "httpcore", "kombu", "amqp", "sqlalchemy", "urllib3", "uvicorn.access")


# uvicorn and Celery give their loggers handlers of their own, whose lines would have another form.
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "celery", "celery.task")

_PLACES = 6


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is when a line is written, because a process or a test may replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps one stream for good
        return sys.stderr


def fault_of(error: BaseException) -> dict[str, object]:
    """Return the fields of a log line about an exception: its type and its places, never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = [f"{Path(frame.filename).stem}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "raised_at": places}


def configure_logs(level: str = "INFO") -> None:
    """Set up structlog, the standard library's logging, and the lines about uncaught exceptions."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    shared: list[structlog.typing.Processor] = [
        _no_text_of_exceptions,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _only_types_of_exceptions,
    ]
    # A handler that can't write would print the line and its traceback as they are, with the exception's text.
    logging.raiseExceptions = False
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(sys.stderr),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _OWN_HANDLERS:
        own = logging.getLogger(name)
        own.handlers, own.propagate = [], True
        own.setLevel(logging.NOTSET)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda uncaught: _log_uncaught(
        uncaught.exc_type, uncaught.exc_value or uncaught.exc_type(), uncaught.exc_traceback
    )


def _renderer(stream: TextIO) -> structlog.typing.Processor:
    if stream.isatty():
        return structlog.dev.ConsoleRenderer(pad_event_to=0)
    return structlog.processors.JSONRenderer()


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the type and the place of an uncaught exception.

    Its text may contain a vendor's or a driver's words.
    """
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(__name__).error("uncaught_exception", exc_info=(kind, error, trace))


def _no_text_of_exceptions(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Keep only the template of another library's line about an exception.

    Such a line is formatted with the exception's text.

    Celery does ("Task ... raised unexpected: ..."), and a driver's text may carry a row's values.
    """
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.exc_info:
        # asyncio has the exception's text in the template itself, behind the first line.
        event["event"] = str(record.msg).partition("\n")[0]
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            event["task"] = data.get("name")
    return event


def _only_types_of_exceptions(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace a traceback by the exception's type and places.

    A traceback's text may contain a vendor's words.
    """
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        places = []
        trace = error.__traceback__
        while trace is not None:
            places.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
            trace = trace.tb_next
        event["error"] = type(error).__name__
        event["raised_at"] = places[-6:]
    return event
