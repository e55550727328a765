"""Child processes of `expunge up`: started, watched, started again when they die, ended in order.

Decides nothing about what they do. A child that keeps dying is started again more slowly, for ever: work waits in SQL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from service.parent_watchdog import VARIABLE

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_HEALTHY_AFTER_SECONDS = 30.0


@dataclass
class Child:
    """One process. `grace_seconds`: how long it may finish what it holds before it is killed."""

    name: str
    command: Sequence[str]
    grace_seconds: float = 10.0
    descriptors: Sequence[int] = ()
    """Inherited file descriptors besides the lifeline."""
    first_end: int | None = None
    """The code with which it ended first; None if it never did."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    started_at: float = 0.0
    pause_seconds: float = _FIRST_PAUSE_SECONDS


class Supervisor:
    """Runs children until `stop`; a context manager. Ended in the reverse order of their start."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._children: list[Child] = []
        self._over = threading.Event()
        self._read_end, self._write_end = os.pipe()
        self._files: list[IO[bytes]] = []
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def add(self, child: Child) -> None:
        """Start a child and keep it running."""
        self._start(child)
        self._children.append(child)

    def pids(self) -> dict[str, int]:
        """The running children's process ids by name."""
        return {c.name: c.process.pid for c in self._children if c.process is not None and c.process.poll() is None}

    def first_end(self, name: str) -> int | None:
        """The code with which a child ended for the first time; None if it is still its first process."""
        return next((c.first_end for c in self._children if c.name == name), None)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def hurry(self, grace_seconds: float) -> None:
        """From now on each process has at most this time to finish."""
        for child in self._children:
            child.grace_seconds = min(child.grace_seconds, grace_seconds)

    def stop(self) -> None:
        """End all children: all are asked at once, the last started first, and each has its own grace."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        for child in reversed(self._children):
            _ask_to_end(child)
        for child in reversed(self._children):
            _end(child)
        os.close(self._write_end)
        os.close(self._read_end)
        for file in self._files:
            file.close()

    def _start(self, child: Child) -> None:
        log = (self._logs / f"{child.name}.log").open("ab")
        self._files.append(log)
        child.process = subprocess.Popen(
            list(child.command),
            env=self._environment | {VARIABLE: str(self._read_end)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(self._read_end, *child.descriptors),
            start_new_session=True,
        )
        child.started_at = time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    self._start_again(child)

    def _start_again(self, child: Child) -> None:
        if child.first_end is None and child.process is not None:
            child.first_end = child.process.poll()
        age = time.monotonic() - child.started_at
        if age > _HEALTHY_AFTER_SECONDS:
            child.pause_seconds = _FIRST_PAUSE_SECONDS
        if self._over.wait(child.pause_seconds):
            return
        child.pause_seconds = min(child.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
        self._start(child)


def _ask_to_end(child: Child) -> None:
    if child.process is not None and child.process.poll() is None:
        child.process.send_signal(signal.SIGTERM)


def _end(child: Child) -> None:
    process = child.process
    if process is None or process.poll() is not None:
        return
    try:
        process.wait(child.grace_seconds)
    except subprocess.TimeoutExpired:
        # Its whole session: a pool's children end with it. The sweeper frees their leases.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python(*arguments: str) -> list[str]:
    """A command that runs this very Python."""
    return [sys.executable, *arguments]
