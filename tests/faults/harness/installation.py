"""A running installation for the fault tests: the service's real processes, on servers that the test itself started.

Decides how its parts are harmed and counts it. What becomes of the work is `verdict`'s to say.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from unittest import mock

import psutil
import redis
from sqlalchemy.exc import DBAPIError

from service.cli.running import supervise
from service.cli.running.supervise import Child, Supervisor, python
from tests.company import Company
from tests.faults.harness import failpoints, launch

WORKER = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair"]
# How long what a fault hit may take until somebody else took it up.
RECOVERY_SECONDS = 45.0


@dataclass
class Installation:
    """The company with its service's processes. Everything here is the test's own: ended by process id."""

    company: Company
    supervisor: Supervisor
    broker: redis.Redis
    logs: Path
    workers: tuple[str, ...]
    done: Counter[str] = field(default_factory=Counter)
    """How often each fault happened."""
    woken: set[str] = field(default_factory=set)
    random: random.Random = field(default_factory=lambda: random.Random(3))

    def kill_workers(self) -> None:
        """SIGKILL one of the workers that speak to systems, its pool's children first. The supervisor restarts it."""
        process = self._worker()
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.done["worker killed"] += 1

    def kill_a_pool_child(self) -> None:
        """SIGKILL one child of a pool only; the worker notices and replaces it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._a_child().kill()
        self.done["pool child killed"] += 1

    def suspend_a_pool_child(self, seconds: float) -> None:
        """Stop a process in the middle of whatever it does, and let it go on after its leases ended."""
        child = self._a_child()
        with contextlib.suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            child.send_signal(signal.SIGCONT)
        self.done["process suspended"] += 1

    def wake_stopped(self, directory: Path, *, seconds: float = 15.0) -> set[str]:
        """Wake the processes that stopped themselves after an effect, while somebody else has what they held.

        Returns the names of the stops, which are over then.
        """
        taken_over = (
            "SELECT 1 FROM attempts a JOIN attempts b ON b.step_id = a.step_id AND b.batch_id = a.batch_id"
            " AND b.fence > a.fence AND b.ended_at IS NULL WHERE a.phase = 'erase' AND a.ended_at IS NULL LIMIT 1"
        )
        woken: set[str] = set()
        for path in directory.iterdir():
            pid = int(path.read_text() or 0)
            if pid == 0 or path.name in self.woken:
                continue
            self.wait_until(lambda: self.company.rows(taken_over), seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            woken.add(path.name)
            self.done["stopped after its effect"] += 1
        self.woken |= woken
        return woken

    def kill(self, name: str) -> None:
        """SIGKILL one of the supervised processes with all its children."""
        pid = self._running(name).pid
        for each in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.done[f"{name} killed"] += 1

    def empty_broker(self) -> None:
        """FLUSHALL, on the Valkey server that this test process started itself."""
        self.broker.flushall()
        self.done["broker emptied"] += 1

    def in_the_middle(self, since: datetime | None = None) -> bool:
        """A system is just being spoken to, under a lease that began after `since` (the database's clock)."""
        running = self.company.rows(
            "SELECT 1 FROM steps s JOIN attempts a ON a.step_id = s.id WHERE s.state = 'leased' AND a.ended_at IS NULL"
            " AND a.started_at > coalesce(CAST(:since AS timestamptz), '-infinity') LIMIT 1",
            since=since,
        )
        return bool(running)

    def now(self) -> datetime:
        """The database's clock."""
        at: datetime = self.company.rows("SELECT clock_timestamp() AS at")[0].at
        return at

    def wait_until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Poll until the condition holds or the time is over; returns whether it holds. No database, no truth yet."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(DBAPIError):
                if condition():
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)

    def _running(self, name: str) -> psutil.Process:
        found = self.wait_until(lambda: name in self.supervisor.pids(), 60)
        assert found, f"{name} was not started again"
        return psutil.Process(self.supervisor.pids()[name])

    def _worker(self) -> psutil.Process:
        """A running worker with its pool, waited for if all are just being started again."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for name in self.random.sample(self.workers, len(self.workers)):
                pid = self.supervisor.pids().get(name)
                if pid is not None and _pool_of(psutil.Process(pid)):
                    return psutil.Process(pid)
            time.sleep(0.05)
        raise AssertionError("no worker was started again")

    def _a_child(self) -> psutil.Process:
        while not (pool := _pool_of(self._worker())):
            time.sleep(0.05)
        return self.random.choice(pool)


def _pool_of(worker: psutil.Process) -> list[psutil.Process]:
    """The pool's processes; none if the worker just ended."""
    try:
        return worker.children()
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def running(
    company: Company,
    urls: Mapping[str, str],
    broker: redis.Redis,
    directory: Path,
    *,
    workers: int = 1,
    api: bool = False,
    path: tuple[Path, ...] = (),
    per_process: Mapping[str, Mapping[str, str]] | None = None,
    **faults: str,
) -> Iterator[Installation]:
    """Start dispatcher, control, beat, workers of two processes each for systems, and the API if asked for.

    `faults` are variables of `launch` for all processes, `per_process` for one of them; `path` is put on theirs.
    """
    logs = directory / "logs"
    logs.mkdir(parents=True)
    root = Path(__file__).parents[3]
    environment = dict(os.environ) | {
        "EXPUNGE_CONFIG": str(company.settings.origin),
        "EXPUNGE_DATABASE_URL": urls["database_url"],
        "EXPUNGE_KEY_DATABASE_URL": urls["key_database_url"],
        "EXPUNGE_BROKER_URL": urls["broker_url"],
        "PYTHONPATH": os.pathsep.join(str(p) for p in (root, *path)),
    }
    environment |= faults
    names = tuple(f"systems-{n}" for n in range(workers))
    # A process that is killed every few seconds is started again at once here: only the waiting is shortened.
    with (
        mock.patch.object(supervise, "_LONGEST_PAUSE_SECONDS", 0.5),
        Supervisor(environment, logs) as supervisor,
    ):
        for name, role, command in _commands(names, str(company.settings.origin), directory, api):
            own = {failpoints.ROLE: role, **(per_process or {}).get(name, {})}
            prefix = ["env", *(f"{key}={value}" for key, value in own.items())]
            supervisor.add(Child(name, [*prefix, *python("-m", launch.__name__, *command)]))
        yield Installation(company, supervisor, broker, logs, names)


def _commands(
    workers: tuple[str, ...], config: str, directory: Path, api: bool
) -> Iterator[tuple[str, str, list[str]]]:
    celery = ["celery", "-A", "workers.app"]
    if api:
        yield "api", "api", ["service.api.server.serve", "--config", config]
    yield "control", "control", [*celery, *WORKER, "-Q", "expunge.control", "-n", "control@%h", "-c", "2"]
    yield "sequencer", "sequencer", [*celery, *WORKER, "-Q", "expunge.audit", "-n", "sequencer@%h", "-P", "solo"]
    for name in workers:
        yield name, "systems", [*celery, *WORKER, "-Q", "expunge.systems", "-n", f"{name}@%h", "-c", "2"]
    yield "beat", "beat", [*celery, "beat", "-s", str(directory / "beat"), "--pidfile", ""]
