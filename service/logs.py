"""Logging for every process: JSON lines of codes and ids, never values.

Decides the format and which libraries are silenced because their lines carry URLs, parameters or messages' bodies.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import structlog

# httpx logs URLs; SQLAlchemy and kombu can log parameters and bodies.
_QUIET = ("httpx", "httpcore", "kombu", "amqp", "sqlalchemy", "urllib3", "uvicorn.access")


_PLACES = 6


def fault_of(error: BaseException) -> dict[str, Any]:
    """What a log line may say about an exception: its type and where it was raised, never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = [f"{Path(frame.filename).stem}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "raised_at": places}


def configure_logs(level: str = "INFO") -> None:
    """Set up structlog and the standard library's logging once per process, to standard error."""
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _no_text_of_exceptions(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Of other libraries' lines about an exception keep the template only: they format the exception's text into it.

    Celery does ("Task ... raised unexpected: ..."), and a driver's text may carry a row's values.
    """
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.exc_info:
        event["event"] = str(record.msg)
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            event["task"] = data.get("name")
    return event


def _only_types_of_exceptions(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace a traceback by the exception's type and where it was raised: its text may carry what a vendor said."""
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
