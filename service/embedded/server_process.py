"""One server as a child process: started as the account, watched while it starts, ended in stages.

Decides nothing about PostgreSQL or Valkey; their files name the command, the proof of readiness and the signals.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from service.embedded.drop_privileges import BARE_ENVIRONMENT, Account
from service.embedded.errors import ServerDidNotStart, ServerDidNotStop
from service.embedded.stale_processes import ServerKind

# Generous, since PostgreSQL answers only after recovery and ending it in the middle would only lengthen the next one.
START_TIMEOUT_SECONDS = 600.0
_POLL_SECONDS = 0.01
_LOG_TAIL_BYTES = 2000


class ServerProcess:
    """A running server that is our child."""

    def __init__(self, kind: ServerKind, process: subprocess.Popen[bytes], log: Path) -> None:
        self._kind = kind
        self._process = process
        self._log = log

    @property
    def name(self) -> str:
        return self._kind.name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return as soon as `is_ready`. Raises ServerDidNotStart if the server ends first or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_ready():
            if self.has_ended or time.monotonic() > deadline:
                raise ServerDidNotStart(self.name, self._log, log_tail(self._log))
            time.sleep(_POLL_SECONDS)

    def wait(self) -> int:
        """Wait for the end of a program that ends by itself; returns its status."""
        return self._process.wait()

    def stop(self) -> None:
        """End the server, gently first; returns when it is gone. Raises ServerDidNotStop."""
        for number, wait_seconds in self._kind.stages:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):  # the next stage is the answer to that
                self._process.wait(wait_seconds)
                return
        raise ServerDidNotStop(self.name, (self.pid,))


def start_server(
    kind: ServerKind,
    command: Sequence[str | Path],
    account: Account,
    working: Path,
    log: Path,
    config: Path | None = None,
) -> ServerProcess:
    """Start `command` as the account in a session of its own.

    So the terminal's Ctrl-C reaches this process and not the server.

    The log file, and the configuration that it reads from its standard input, are opened by us: the account has no
    right to either.
    """
    if log.exists():
        log.replace(log.with_name(log.name + ".previous"))
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    config_fd = os.open(config or os.devnull, os.O_RDONLY)
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=working,
            env=BARE_ENVIRONMENT,
            stdin=config_fd,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
            umask=0o077,
            **account.identity,
        )
    finally:
        os.close(log_fd)
        os.close(config_fd)
    return ServerProcess(kind, process, log)


def log_tail(log: Path) -> str:
    """The end of a server's log: it holds no statements and no values (see the settings in postgres.py)."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        return stream.read().decode(errors="replace").strip()
