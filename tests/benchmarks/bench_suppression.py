"""What a check at ingestion costs, with ten million entries on the suppression list.

    python -m tests.benchmarks.bench_suppression [--out bench.json]

BENCH_SCALE (default 1) scales the list. One identifier in a hundred is on it. `suppression.check_p99_ms` is the time
from the arrival of a call at the application to the end of its answer, key, JSON, normalisation and hashing included;
`suppression.lookups_per_second` counts the identifiers that one caller gets answered over one connection. Each is
measured for checks of 1 identifier and, as `_of_1000`, of 1,000. The yardstick is the same check of a list with a
thousandth of the entries; both are called in turns. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from httpx import Client, Limits
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from connectors.base.values import Identifier
from service.access.create_key import create_key
from service.api.app import create_app
from service.domain.access.api_key import Scope
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.secrets import load_secrets
from service.store.engine import open_engine
from service.store.migrate import migrate
from service.store.stores import Stores
from tests.benchmarks.own_servers import own_servers
from tests.benchmarks.results import tell
from tests.integration.api.conftest import serving
from tests.integration.execution.select.rows import Desk, settings_with

PEOPLE = 100_000
ONE_LISTED_OF = 100
CALLS = {1: 1_000, 1_000: 200}
_WARMING = 20
_A_REQUEST = 1_000
_A_STATEMENT = 1_000_000
_PEPPER = Pepper(b"p" * 32)


def fill(desk: Desk, entries: int) -> None:
    """A list of strangers and of some of the people who are checked, vacuumed and analysed.

    The index is built afterwards with the room that insertions in random order leave in its pages.
    """
    desk.add(max(1, entries // _A_REQUEST), phase="confirm", state="absent")
    desk.write("ALTER TABLE suppression_entries DROP CONSTRAINT pk_suppression_entries")
    desk.write("ALTER TABLE suppression_entries DROP CONSTRAINT fk_suppression_entries_request_id_requests")
    desk.write("CREATE TABLE places AS SELECT id, row_number() OVER () - 1 AS place FROM requests")
    for start in range(0, entries, _A_STATEMENT):
        desk.write(
            "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
            " SELECT sha256(n::text::bytea), r.id, 'erased', 'email', now()"
            " FROM generate_series(CAST(:start AS bigint), CAST(:end AS bigint)) AS n"
            " JOIN places AS r ON r.place = n % CAST(:requests AS bigint)",
            start=start,
            end=min(start + _A_STATEMENT, entries) - 1,
            requests=max(1, entries // _A_REQUEST),
        )
    for n in range(0, PEOPLE, ONE_LISTED_OF):
        desk.write(
            "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
            " SELECT :hash, id, 'do_not_sell', 'email', now() FROM places LIMIT 1",
            hash=_PEPPER.of_identifier(Identifier("email", address(n))),
        )
    desk.write(
        "ALTER TABLE suppression_entries ADD CONSTRAINT pk_suppression_entries"
        " PRIMARY KEY (keyed_hash, request_id, scope) WITH (fillfactor = 70)"
    )
    with desk.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def address(n: int) -> str:
    """One of the people who are checked."""
    return f"person.of.the.bench-{n}@mail.example"


class _Timed:
    """The application, and how long each call took in it."""

    def __init__(self, app: ASGIApp, seconds: list[float]) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        await self._app(scope, receive, send)
        self._seconds.append(time.perf_counter() - begun)


@dataclass
class Caller:
    """One caller of one service."""

    client: Client
    seconds: list[float]
    waited: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(20261201))

    def check(self, size: int) -> None:
        """One check of people drawn at random."""
        people = self.rng.sample(range(PEOPLE), size)
        body = {"items": [{"kind": "email", "value": address(n)} for n in people], "max_staleness_seconds": 3600}
        begun = time.perf_counter()
        answer = self.client.post("/v1/suppressions/check", json=body)
        self.waited += time.perf_counter() - begun
        listed = [item["status"] == "suppressed" for item in answer.raise_for_status().json()["items"]]
        if listed != [n % ONE_LISTED_OF == 0 for n in people]:
            raise AssertionError("another answer than the list has")

    def forget(self) -> None:
        """Begin the next measurement."""
        self.seconds.clear()
        self.waited = 0.0


@contextmanager
def calling(url: str, settings: Settings, entries: int) -> Iterator[Caller]:
    """A service over a list of so many entries."""
    migrate(url)
    desk = Desk(open_engine(url)).open()
    fill(desk, entries)
    desk.engine.dispose()
    stores = Stores.open(url, url, replace(load_secrets(settings), pepper=_PEPPER))
    key = create_key(stores, name="bench", scopes=(Scope.SUPPRESSIONS_CHECK,), life=timedelta(days=1), actor="cli")
    app, seconds = create_app(stores, settings), list[float]()
    app.add_middleware(_Timed, seconds=seconds)
    headers = {"Authorization": f"Bearer {key.token}"}
    # The server ends a connection that was idle for five seconds, as long as the other list may take when it is cold.
    kept = Limits(keepalive_expiry=2)
    with serving(app) as base, Client(base_url=base, headers=headers, timeout=60, limits=kept) as client:
        yield Caller(client, seconds)
    stores.close()


def measure(full: Caller, small: Caller, size: int) -> list[dict[str, Any]]:
    """Both in turns: the p99 of the calls, and identifiers a second."""
    both = (full, small)
    for _ in range(_WARMING):
        for caller in both:
            caller.check(size)
    for caller in both:
        caller.forget()
    for _ in range(CALLS[size]):
        for caller in both:
            caller.check(size)
    p99, small_p99 = (quantiles(each.seconds, n=100)[98] * 1000 for each in both)
    rate, small_rate = (CALLS[size] * size / each.waited for each in both)
    suffix = "" if size == 1 else f"_of_{size}"
    yardstick_is = "the same check of a list with a thousandth of the entries"
    return [
        {
            "name": f"suppression.check_p99_ms{suffix}",
            "value": round(p99, 2),
            "unit": "ms",
            "yardstick": round(small_p99, 2),
            "yardstick_is": yardstick_is,
            "ratio": round(p99 / small_p99, 3),
        },
        {
            "name": f"suppression.lookups_per_second{suffix}",
            "value": round(rate),
            "unit": "identifiers/s",
            "yardstick": round(small_rate),
            "yardstick_is": yardstick_is,
            "ratio": round(rate / small_rate, 3),
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    out: Path = parser.parse_args().out
    entries = int(10_000_000 * float(os.environ.get("BENCH_SCALE", "1")))
    with own_servers(durable=False) as (running, scratch):
        settings = settings_with(data_directory=str(scratch / "ours"))
        with (
            calling(running.database_url, settings, entries) as full,
            calling(running.key_database_url, settings, max(1, entries // 1_000)) as small,
        ):
            found = [result for size in CALLS for result in measure(full, small, size)]
    tell(found, out)


if __name__ == "__main__":
    main()
