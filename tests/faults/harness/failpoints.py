"""Crash points: before and after every commit, every published message and every pass over a system.

A process that comes to a point first kills itself there, as SIGKILL would; later ones go by. Who is first is decided by
a file of the point's name, so every point is hit once, in whatever process. Points are found, not listed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROLE = "EXPUNGE_TEST_ROLE"
_ROOMS = tuple(str(Path(__file__).parents[3] / room) + os.sep for room in ("service", "workers"))


def hit_points(directory: Path) -> set[str]:
    """The points at which a process died so far."""
    return {path.name for path in directory.iterdir()}


def install(directory: Path, role: str) -> None:
    """Put the points into this process, which is one of `role`."""

    def reach(name: str) -> None:
        try:
            os.close(os.open(directory / f"{role} {name}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def point(name: str) -> Iterator[None]:
        reach(f"before {name}")
        yield
        reach(f"after {name}")

    _at_commits(point)
    _at_statements(point)
    _at_messages(point)
    if role == "systems":
        _at_passes(point)


def install_stops(directory: Path) -> None:
    """The first process that has erased in each kind of system stops before it records that, until it is woken."""

    def stop(name: str) -> None:
        with contextlib.suppress(FileExistsError), (directory / name).open("x") as file:
            file.write(str(os.getpid()))
            file.flush()
            os.kill(os.getpid(), signal.SIGSTOP)

    from service.execution import run_batch

    real = run_batch.call_connector

    def call(connector: Any, leased: Any, lease: Any) -> Any:
        results = real(connector, leased, lease)
        if leased.phase == "erase":
            stop(connector.declaration.name)
        return results

    run_batch.call_connector = call


def _at_commits(point: Any) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    real = DefaultDialect.do_commit

    def do_commit(self: Any, connection: Any) -> None:
        with point(f"commit of {_caller()}"):
            real(self, connection)

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _at_statements(point: Any) -> None:
    """Statements that are a transaction by themselves, and write."""
    from service.store.autocommit import Autocommit

    real = Autocommit.execute

    def execute(self: Any, statement: Any, values: Any) -> Any:
        if str(statement).startswith("SELECT"):
            return real(self, statement, values)
        with point(f"commit of {_caller()}"):
            return real(self, statement, values)

    Autocommit.execute = execute  # type: ignore[method-assign]


def _at_messages(point: Any) -> None:
    from kombu.transport.redis import Channel

    real = Channel._put

    def put(self: Any, queue: str, message: Any, **named: Any) -> Any:
        with point(f"message {message['headers'].get('task')}"):
            return real(self, queue, message, **named)

    Channel._put = put


def _at_passes(point: Any) -> None:
    from service.execution import run_batch

    real = run_batch.call_connector

    def call(connector: Any, leased: Any, lease: Any) -> Any:
        with point(f"{leased.phase} in {connector.declaration.name}"):
            return real(connector, leased, lease)

    run_batch.call_connector = call
    real_look = run_batch.verify_at_once

    def look(runtime: Any, connector: Any, leased: Any, results: Any) -> Any:
        if leased.phase != "erase":
            return real_look(runtime, connector, leased, results)
        # Something has happened in the system, and nobody has recorded it.
        with point(f"look at once in {connector.declaration.name}"):
            return real_look(runtime, connector, leased, results)

    run_batch.verify_at_once = look


def _caller() -> str:
    """The innermost function of ours on the stack: whose transaction it is."""
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith(_ROOMS):
        frame = frame.f_back  # type: ignore[assignment]
    return "nobody" if frame is None else f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"
