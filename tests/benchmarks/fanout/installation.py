"""An installation under measurement: servers of its own, real worker processes, and what all of them cost in CPU."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from sqlalchemy import text

from connectors.base.values import Identifier
from service.cli.running.installation import Servers, environment, prepare, servers
from service.cli.running.supervise import Child, Supervisor, python
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings, load_settings
from service.store.stores import Stores

SYSTEMS = 5
_WORKER = ("worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair")


@dataclass
class Vendor:
    """The vendors' process."""

    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def reset(self, people: int, latency_ms: float = 0.0) -> None:
        """The same people, anew, in every system."""
        url = f"http://127.0.0.1:{self.port}/__reset__"
        httpx.get(url, params={"people": people, "latency_ms": latency_ms}).raise_for_status()

    def stats(self) -> dict[str, int]:
        """Calls since the reset, and people who are left."""
        found: dict[str, int] = httpx.get(f"http://127.0.0.1:{self.port}/__stats__").raise_for_status().json()
        return found


@contextlib.contextmanager
def vendor() -> Iterator[Vendor]:
    """Start the vendors on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.benchmarks.fanout.vendor", str(port), str(SYSTEMS), "0"]
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/__stats__")
                break
            time.sleep(0.1)
        yield Vendor(port, process)
    finally:
        process.terminate()
        process.wait()


def write_config(path: Path, connector: str, port: int, data: Path, **engine: float) -> Settings:
    """A configuration with five systems of one kind and no identity graph.

    Five ticks a second unless `engine` says otherwise: the goals were set with that, and figures of other days have it.
    """
    engine = {"tick_seconds": 0.2, **engine}
    lines = ["[service]", f'data_directory = "{data}"', "[engine]"]
    lines += [f"{name} = {value}" for name, value in engine.items()]
    for n in range(SYSTEMS):
        lines += ["[[systems]]", f'name = "s{n}"', f'connector = "{connector}"']
        lines += [f'base_url = "http://127.0.0.1:{port}/s{n}"', 'allow_private_hosts = ["127.0.0.1"]']
    path.write_text("\n".join(lines) + "\n")
    return load_settings(path)


@dataclass
class Installation:
    """What is measured: the stores, and the processes by what they do."""

    settings: Settings
    found: Servers
    stores: Stores
    data: Path

    def submit(self, people: int, first: int = 0) -> None:
        """Accept one verified e-mail address a person. Intake is not part of what is measured."""
        at = datetime.now(UTC)
        key = uuid4()
        for n in range(first, first + people):
            one = SubmittedIdentifier(Identifier("email", f"p{n}@bench.example"), "email_link", at)
            submit_request(self.stores, self.settings, Submission("erasure", "gdpr", (one,), at, None, key, None))

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Any reading of the main store."""
        with self.stores.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def cpu_by_server(self) -> dict[str, float]:
        """CPU seconds that PostgreSQL and the broker have used."""
        used = {"postgresql": 0.0, "broker": 0.0}
        for process in psutil.process_iter(["name", "cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if str(self.data) not in command:
                continue
            if "valkey" in command or "redis" in command:
                used["broker"] += cpu_of_tree(process.pid)
            elif "postgres" in (process.info["name"] or ""):
                used["postgresql"] += cpu_of_tree(process.pid)
        return used


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process, of its children that live, and of those that have ended and been waited for."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        total = 0.0
        for each in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total
    return 0.0


@contextlib.contextmanager
def installed(settings: Settings) -> Iterator[Installation]:
    """Servers and stores, no worker yet."""
    with servers(settings) as found, contextlib.closing(prepare(settings, found)) as stores:
        yield Installation(settings, found, stores, settings.service.data_directory)


@contextlib.contextmanager
def working(installation: Installation, python_path: str, workers: int) -> Iterator[Supervisor]:
    """The processes of `expunge up` without its API."""
    logs = installation.data / "logs"
    logs.mkdir(exist_ok=True)
    celery = python("-m", "celery", "-A", "workers.app")
    surroundings = environment(installation.settings, installation.found) | {"PYTHONPATH": python_path}
    surroundings["EXPUNGE_LOG_LEVEL"] = os.environ.get("BENCH_LOG_LEVEL", "WARNING")
    with Supervisor(surroundings, logs) as supervisor:
        pools = {
            "systems": ("expunge.systems", "-c", str(workers)),
            "control": ("expunge.control", "-c", "2"),
            "sequencer": ("expunge.audit", "-P", "solo"),
        }
        for name, (queue, *pool) in pools.items():
            supervisor.add(Child(name, [*celery, *_WORKER, "-Q", queue, "-n", f"{name}@%h", *pool]))
        supervisor.add(Child("beat", [*celery, "beat", "-s", str(installation.data / "beat"), "--pidfile", ""]))
        yield supervisor
