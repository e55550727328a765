"""A running installation for the fault tests: real worker processes and broker, on the test's own servers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from service.cli.supervise import Child, Supervisor, python
from tests.company import Company

WORKER = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair"]


@dataclass
class Installation:
    """The company with its service's processes. Everything here is the test's own: ended by process id."""

    company: Company
    supervisor: Supervisor
    broker: redis.Redis
    logs: Path
    killed: int = field(default=0)

    def kill_workers(self) -> None:
        """SIGKILL the worker that speaks to systems, its pool's children first. The supervisor starts a new one."""
        process = self._worker()
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.killed += 1

    def kill_a_pool_child(self) -> None:
        """SIGKILL one child of the pool only; the worker notices and replaces it."""
        child = self._pool_of(self._worker())[0]
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
        self.killed += 1

    def _worker(self) -> psutil.Process:
        """The running worker with its pool, waited for if it is just being started again."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            pid = self.supervisor.pids().get("systems")
            if pid is not None and self._pool_of(psutil.Process(pid)):
                return psutil.Process(pid)
            time.sleep(0.1)
        raise AssertionError("the worker was not started again")

    def _pool_of(self, worker: psutil.Process) -> list[psutil.Process]:
        """The pool's processes; none if the worker just ended."""
        try:
            return worker.children()
        except psutil.NoSuchProcess:
            return []

    def empty_broker(self) -> None:
        """FLUSHALL, on the Valkey server that this test process started itself."""
        self.broker.flushall()

    def unfinished(self) -> int:
        """Pairs that have not ended."""
        row = self.company.rows("SELECT count(*) AS n FROM steps WHERE ended_at IS NULL")[0]
        return int(row.n)

    def wait_until(self, condition: Any, seconds: float) -> bool:
        """Poll until the condition holds or the time is over; returns whether it holds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if condition():
                return True
            time.sleep(0.2)
        return bool(condition())


@contextlib.contextmanager
def running(
    company: Company, servers: dict[str, str], redis_url: str, directory: Path, *, mutant: str | None = None
) -> Iterator[Installation]:
    """Start dispatcher, control and two pool processes for systems. `mutant` names a mechanism to switch off."""
    logs = directory / "logs"
    logs.mkdir(parents=True)
    environment = dict(os.environ) | {
        "EXPUNGE_CONFIG": str(company.settings.origin),
        "EXPUNGE_DATABASE_URL": servers["database_url"],
        "EXPUNGE_KEY_DATABASE_URL": servers["key_database_url"],
        "EXPUNGE_BROKER_URL": servers["broker_url"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    app = "workers.app"
    if mutant is not None:
        environment["EXPUNGE_TEST_MUTANT"] = mutant
        app = "tests.faults.mutant_app"
    celery = python("-m", "celery", "-A", app)
    with Supervisor(environment, logs) as supervisor:
        for child in _children(celery, directory):
            supervisor.add(child)
        yield Installation(company, supervisor, redis.Redis.from_url(redis_url), logs)


def _children(celery: Sequence[str], directory: Path) -> list[Child]:
    return [
        Child("control", [*celery, *WORKER, "-Q", "expunge.control", "-n", "control@%h", "-P", "solo"]),
        Child("systems", [*celery, *WORKER, "-Q", "expunge.systems", "-n", "systems@%h", "-c", "2"]),
        Child("beat", [*celery, "beat", "-s", str(directory / "beat"), "--pidfile", ""]),
    ]
