"""What accepting a request costs, one by one and in bulk, beside a plain insert behind the same framework.

    python -m tests.benchmarks.bench_intake [--out bench.json]

Both are one server process each over one PostgreSQL server; rounds take turns, so that a busy moment of the machine
hits both. The service authenticates each call, seals each identifier under a key of the request's own in another
database, and writes the audit entry; the yardstick writes a row. BENCH_SCALE (default 1) scales the rounds. Nothing is
asserted here.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

from sqlalchemy import make_url

from service.access.create_key import create_key
from service.domain.access.api_key import Scope
from service.settings import parse_settings
from service.store.encryption.secrets import load_secrets
from service.store.migrate import migrate, migrate_keys
from service.store.stores import Stores
from tests.benchmarks.own_servers import own_servers
from tests.benchmarks.results import tell

ROUNDS = 7
CLIENTS = 16
PER_CLIENT = 40
LINES = 20_000


def body(number: int) -> bytes:
    at = datetime.now(UTC).isoformat()
    proof = {"method": "email_link", "verified_at": at}
    return json.dumps(
        {
            "kind": "erasure",
            "regime": "gdpr",
            "identifiers": [{"kind": "email", "value": f"p{number}-{uuid4().hex}@example.test", "verification": proof}],
            "received_at": at,
        }
    ).encode()


def round_of(port: int, path: str, headers: dict[str, str], per_client: int) -> tuple[float, list[float]]:
    """One round: submissions a second, and the seconds of each."""
    bodies = [[body(n) for n in range(per_client)] for _ in range(CLIENTS)]

    def client(own: list[bytes]) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seconds = []
        for each in own:
            begin = time.perf_counter()
            connection.request("POST", path, each, headers | {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - begin)
            if answer.status != 202:
                raise AssertionError(f"{path} answered {answer.status}")
        connection.close()
        return seconds

    with ThreadPoolExecutor(CLIENTS) as pool:
        begin = time.perf_counter()
        seconds = [each for own in pool.map(client, bodies) for each in own]
        return len(seconds) / (time.perf_counter() - begin), seconds


def bulk(port: int, headers: dict[str, str], lines: int) -> float:
    """Lines a second of one import."""
    content = b"\n".join(body(n) for n in range(lines)) + b"\n"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begin = time.perf_counter()
    sent = headers | {"Content-Type": "application/jsonl", "Idempotency-Key": uuid4().hex}
    connection.request("POST", "/v1/requests/batch", content, sent)
    last = connection.getresponse().read().splitlines()[-1]
    seconds = time.perf_counter() - begin
    if json.loads(last)["accepted"] != lines:
        raise AssertionError("not every line was accepted")
    return lines / seconds


def cpu_seconds() -> float:
    """Of everything that this process started, and of what that started: both servers, and the database's."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks[pid] for pid in ours - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(*command: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A server process, and its port once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)], env=os.environ | (environment or {})
    )
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def run(running: Any, scratch: Path, scale: float) -> list[dict[str, Any]]:
    config = scratch / "expunge.toml"
    config.write_text(f'[service]\ndata_directory = "{scratch / "service"}"\n')
    settings = parse_settings({"service": {"data_directory": str(scratch / "service")}})
    stores = Stores.open(running.database_url, running.key_database_url, load_secrets(settings))
    key = create_key(stores, name="bench", scopes=(Scope.REQUESTS_SUBMIT,), life=timedelta(days=1), actor="cli")
    stores.close()
    urls = {"EXPUNGE_DATABASE_URL": running.database_url, "EXPUNGE_KEY_DATABASE_URL": running.key_database_url}
    plain_url = make_url(running.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    headers = {"Authorization": f"Bearer {key.token}"}
    per_client = max(10, int(PER_CLIENT * scale))
    rates: dict[str, list[float]] = {"service": [], "plain": []}
    seconds: dict[str, list[float]] = {"service": [], "plain": []}
    cpu: dict[str, float] = {"service": 0.0, "plain": 0.0}
    with (
        serving("service.api.server.serve", "--config", str(config), environment=urls) as ours,
        serving("tests.benchmarks.intake_yardstick", "--url", plain_url) as theirs,
    ):
        turns: list[tuple[str, Callable[[int], tuple[float, list[float]]]]] = [
            ("service", lambda n: round_of(ours, "/v1/requests", headers, n)),
            ("plain", lambda n: round_of(theirs, "/plain", {}, n)),
        ]
        for number in range(ROUNDS + 1):
            for name, turn in turns if number % 2 else reversed(turns):
                before = cpu_seconds()
                rate, each = turn(per_client if number else 10)
                if number:  # The first round opens connections.
                    cpu[name] += cpu_seconds() - before
                    rates[name].append(rate)
                    seconds[name] += each
        lines_per_second = median(bulk(ours, headers, max(1_000, int(LINES * scale))) for _ in range(3))
    service, plain = median(rates["service"]), median(rates["plain"])
    p95, plain_p95 = (quantiles(seconds[name], n=20)[-1] * 1000 for name in ("service", "plain"))
    milliseconds = {name: round(1000 * spent / len(seconds[name]), 3) for name, spent in cpu.items()}
    was = f"FastAPI and raw psycopg, one plain row in a transaction, one process, {CLIENTS} clients"
    return [
        result(
            "intake.wall_ratio",
            service / plain,
            "x",
            1.0,
            was,
            per_second=round(service, 1),
            plain_per_second=round(plain, 1),
            cpu_ms=milliseconds["service"],
            plain_cpu_ms=milliseconds["plain"],
        ),
        result("intake.p95_ms", p95, "ms", plain_p95, was),
        result("intake.bulk_lines_per_second", lines_per_second, "1/s", service, "the same submissions one by one"),
    ]


def result(name: str, value: float, unit: str, yardstick: float, yardstick_is: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "yardstick": round(yardstick, 4),
        "yardstick_is": yardstick_is,
        "ratio": round(value / yardstick, 4),
        **more,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    out: Path = parser.parse_args().out
    with own_servers() as (running, scratch):
        migrate(running.database_url)
        migrate_keys(running.key_database_url)
        found = run(running, scratch, float(os.environ.get("BENCH_SCALE", "1")))
    tell(found, out)


if __name__ == "__main__":
    main()
