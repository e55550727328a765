"""What the audit log costs: on every change, in the sequencer, for a proof, for an export and its verification.

    python -m tests.benchmarks.bench_audit [--out bench.json]

BENCH_SCALE (default 1) scales the million entries. Every number stands beside a yardstick that was measured in the same
run on the same machine; the ratio of the two is what can be compared between machines. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, bindparam, text, update

from service.audit.exports.full import export_audit
from service.audit.sequence import sequence_audit
from service.cli.audit import verify_audit
from service.domain.audit.entry import AuditEntry
from service.domain.audit.signed_note import SigningKey
from service.store.audit_log import log as audit_log
from service.store.audit_log.record_change import Change, Version, chain_entries
from service.store.audit_log.tree import inclusion_proof, stored_size
from service.store.engine import open_engine
from service.store.execute import compile_once
from service.store.migrate import migrate
from service.store.tables.requests import RequestRow
from tests.benchmarks.own_servers import own_servers
from tests.benchmarks.results import tell

MILLION = 1_000_000
THREADS = 4
SEED = os.urandom(32)
KEY = SigningKey("bench.example/log", Ed25519PrivateKey.from_private_bytes(SEED))
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


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


# --- a change with and without its entry ------------------------------------------------------------------------------

Way: TypeAlias = Callable[[Connection, UUID], None]
_INSERT = text(
    "INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, respond_by, submitted_by)"
    " VALUES (:id, :subject, 'erasure', '{erased}', 'gdpr', 'open', now(), now(), :id)"
)
_CHANGE = (
    update(RequestRow)
    .where(RequestRow.id == bindparam("key"))
    .values(state="in_progress", reason=bindparam("new_reason"))
)
_CHANGE_FOR_DRIVER = compile_once(_CHANGE)
_CHANGE_WITH_VERSION = _CHANGE.values(version=bindparam("to_version"), entry_hash=bindparam("hash"))
ROUNDS = 200
_FIRST = 5


def bench_writes(engine: Engine, per_thread: int, rounds: int) -> dict[str, Any]:
    """The wall time of transactions of one change each, with its entry against the same without it.

    Without it in two ways: sent to the driver as the audited one is, which is the yardstick, and as most of the
    service's statements are sent, which costs more (`ratio_to_usual`). Rounds are short, of as many fresh rows by as
    many threads, and take turns in who is first, so that what the machine does besides hits all three; the value is the
    median of the rounds' quotients. The first ones, on connections that know no statement yet, don't count.
    """
    ways = (_change_audited, _change_bare, _change_as_usual)
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    stolen, begin = _stolen_seconds(), time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for round_ in range(_FIRST + rounds):
            for turn in range(len(ways)):
                way = ways[(round_ + turn) % len(ways)]
                seconds[way].append(_change_all(engine, pool, per_thread, way))
    share = (_stolen_seconds() - stolen) / (time.perf_counter() - begin) / (os.cpu_count() or 1)
    audited, bare, usual = (seconds[way][_FIRST:] for way in ways)
    costs = [each / other for each, other in zip(audited, bare, strict=True)]
    low, _, high = quantiles(costs, n=4)
    count = per_thread * THREADS
    more = {
        "ratio_to_usual": round(median(each / other for each, other in zip(audited, usual, strict=True)), 4),
        "quartiles": [round(low, 3), round(high, 3)],
        "audited_per_second": round(count / median(audited), 1),
        "unaudited_per_second": round(count / median(bare), 1),
        "threads": THREADS,
        "rounds": rounds,
        "changes_per_round": count,
        "steal_share": round(share, 4),
    }
    return result("audit.write_ratio", median(costs), "x", 1.0, "the same change without its entry", **more)


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def _change_all(engine: Engine, pool: ThreadPoolExecutor, per_thread: int, change: Way) -> float:
    rows = [[uuid4() for _ in range(per_thread)] for _ in range(THREADS)]
    with engine.begin() as connection:
        connection.execute(_INSERT, [{"id": i, "subject": i.hex} for part in rows for i in part])

    def change_each(part: list[UUID]) -> None:
        for row_id in part:
            with engine.begin() as connection:
                change(connection, row_id)

    return timed(lambda: list(pool.map(change_each, rows)))


def _change_audited(connection: Connection, row_id: UUID) -> None:
    data = {"reason": "locating"}
    change = Change("request", str(row_id), Version(), "request_in_progress", row_id.hex, data)
    entries, versions = chain_entries([change], actor="worker", at=AT)
    (version,) = versions.values()
    values = {"key": row_id, "new_reason": "locating", "to_version": version.number, "hash": version.entry_hash}
    audit_log.append_with(connection, entries, _CHANGE_WITH_VERSION, values)


def _change_bare(connection: Connection, row_id: UUID) -> None:
    values = {**_CHANGE_FOR_DRIVER.literals, "key": row_id, "new_reason": "locating"}
    connection.exec_driver_sql(_CHANGE_FOR_DRIVER.words, values)


def _change_as_usual(connection: Connection, row_id: UUID) -> None:
    connection.execute(_CHANGE, {"key": row_id, "new_reason": "locating"})


# --- the sequencer ----------------------------------------------------------------------------------------------------


def _entries(count: int) -> Iterator[AuditEntry]:
    data = {"reason": "locating"}
    for _ in range(count):
        row_id = uuid4()
        yield AuditEntry("request_in_progress", "request", str(row_id), 1, None, AT, "worker", row_id.hex, data)


def add(engine: Engine, count: int) -> float:
    """Logs entries and sequences them; answers the seconds of sequencing one, of the median portion."""
    seconds = []
    while count > 0:
        portion = min(count, 10_000)
        with engine.begin() as connection:
            audit_log.append(connection, list(_entries(portion)))
        seconds.append(timed(lambda: _sequence(engine)) / portion)
        count -= portion
    return median(seconds)


def _sequence(engine: Engine) -> None:
    while sequence_audit(engine, KEY).more:
        pass


def bench_plain_inserts(engine: Engine, count: int) -> float:
    """Rows a second of a table without any tree, in transactions as large as the sequencer's."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS plain"))
        connection.execute(text("CREATE TABLE plain (id bigint PRIMARY KEY, entry bytea)"))
    raws = [entry.encode() for entry in _entries(count)]

    def insert() -> None:
        for start in range(0, count, 1_000):
            part = raws[start : start + 1_000]
            with engine.begin() as connection:
                connection.execute(
                    text("INSERT INTO plain SELECT * FROM unnest(CAST(:i AS bigint[]), CAST(:e AS bytea[]))"),
                    {"i": list(range(start, start + len(part))), "e": part},
                )

    return count / timed(insert)


# --- how long an entry waits ------------------------------------------------------------------------------------------

TICK_SECONDS = 1.0
"""As `engine.tick_seconds` has it by default: so often the sequencer is woken."""
OFFERED_PER_SECOND = 4_000
"""Entries of a fan-out that runs as fast as it can on two cores, rounded up (bench_fanout: 1,000 pairs a second)."""
_IN_ONE_CHANGE = 50


def bench_lag(engine: Engine, seconds: float) -> dict[str, Any]:
    """The age of the oldest entry that waits, looked at all the time under a load that doesn't wait for anybody."""
    until, ages, written = time.monotonic() + seconds, [], [0] * THREADS

    def write(thread: int) -> None:
        due = time.monotonic()
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            with engine.begin() as connection:
                audit_log.append(connection, list(_entries(_IN_ONE_CHANGE)))
            written[thread] += _IN_ONE_CHANGE
            due += _IN_ONE_CHANGE * THREADS / OFFERED_PER_SECOND

    def sequence() -> None:
        while time.monotonic() < until:
            begin = time.monotonic()
            _sequence(engine)
            time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - begin)))

    with ThreadPoolExecutor(THREADS + 1) as pool:
        running = [pool.submit(sequence), *(pool.submit(write, thread) for thread in range(THREADS))]
        while time.monotonic() < until:
            with engine.connect() as connection:
                ages.append(audit_log.oldest_pending_seconds(connection))
            time.sleep(0.02)
        for each in running:
            each.result()
    _sequence(engine)
    more = {"entries_per_second": round(sum(written) / seconds, 1), "looks": len(ages)}
    return result(
        "audit.lag_p99_seconds", quantiles(ages, n=100)[98], "s", TICK_SECONDS, "the sequencer's own interval", **more
    )


# --- proofs, export, verification -------------------------------------------------------------------------------------


def proof_milliseconds(engine: Engine, size: int, *, plain: bool = False) -> float:
    """The median over 200 leaves; with `plain`, of reading the leaf by its index and nothing more."""
    chance, seconds = random.Random(7), []
    with engine.connect() as connection:
        for _ in range(200):
            index = chance.randrange(size)
            begin = time.perf_counter()
            if plain:
                connection.execute(text("SELECT entry FROM audit_leaves WHERE index = :i"), {"i": index}).one()
            else:
                inclusion_proof(connection, index, size)
            seconds.append(time.perf_counter() - begin)
    return median(seconds) * 1_000


class Exported(NamedTuple):
    """One export and its verification: seconds, and peaks of memory in MB."""

    path: Path
    export_seconds: float
    export_mb: float
    verify_seconds: float
    verify_mb: float


def export_and_verify(engine: Engine, scratch: Path) -> Exported:
    """Both in a process of its own, so that its memory is nobody else's."""
    path = scratch / "audit.jsonl"
    url = engine.url.render_as_string(hide_password=False)
    export = [sys.executable, "-m", "tests.benchmarks.bench_audit", "--export-to", str(path)]
    exported = _run(export, {"BENCH_URL": url, "BENCH_SEED": SEED.hex()})
    (scratch / "audit.pub").write_text(f"{KEY.trusted}\n")
    return Exported(path, *exported, *_run([sys.executable, "-I", verify_audit.__file__, str(path)], {}))


def bench_export(engine: Engine, scratch: Path, small: Exported, first: int) -> list[dict[str, Any]]:
    """`small` is the same at `first` entries: memory must not grow with the log."""
    path, export_seconds, export_mb, verify_seconds, verify_mb = export_and_verify(engine, scratch)
    entries = sum(1 for _ in path.open("rb")) - 2

    def read() -> None:
        with path.open("rb") as file:
            for line in file:
                json.loads(line)
                hashlib.sha256(line).digest()

    reading = timed(read)
    was = "reading, parsing and hashing each line of the same file"
    verified = {"entries": entries, "peak_rss_mb": verify_mb}
    exported = {"entries": entries, "peak_rss_mb": export_mb}
    at = f"the same at {first} entries"
    return [
        result("audit.verify_seconds_1m", verify_seconds, "s", reading, was, **verified),
        result("audit.export_seconds_1m", export_seconds, "s", reading, was, **exported),
        result("audit.verify_peak_mb", verify_mb, "MB", small.verify_mb, at, entries=entries),
        result("audit.export_peak_mb", export_mb, "MB", small.export_mb, at, entries=entries),
    ]


def export_once(path: Path) -> None:
    """What the other process does."""
    key = SigningKey(KEY.trusted.name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(os.environ["BENCH_SEED"])))
    engine = open_engine(os.environ["BENCH_URL"], pool_size=1)
    with path.open("wb") as out:
        export_audit(engine, key, out)
    engine.dispose()


# A process counts from the memory of the one that it was forked from, so a small one comes between.
_MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and the peak of memory in MB of a process that must succeed."""
    begin = time.perf_counter()
    between = [sys.executable, "-I", "-S", "-c", _MEASURE, *command]
    done = subprocess.run(between, stdout=subprocess.PIPE, env={**os.environ, **environment}, check=True)
    return time.perf_counter() - begin, round(int(done.stdout) / 1_024, 1)


def run(engine: Engine, scratch: Path, scale: float) -> list[dict[str, Any]]:
    """Every number of the audit log."""
    big = max(2_000, int(MILLION * scale))
    small = max(200, big // 100)
    found = [bench_writes(engine, 25, ROUNDS if scale >= 0.1 else 40)]
    _sequence(engine)
    add(engine, small)
    with engine.connect() as connection:
        first = stored_size(connection)
    exported_small = export_and_verify(engine, scratch)
    portion = max(1_000, min(50_000, big // 20))
    early = add(engine, portion) * bench_plain_inserts(engine, portion)
    proof_small = proof_milliseconds(engine, first)
    add(engine, max(1, big - first - 2 * portion))
    late = add(engine, portion)
    with engine.connect() as connection:
        size = stored_size(connection)
    plain = bench_plain_inserts(engine, portion)
    proof_big = proof_milliseconds(engine, size)
    was = "rows a second into a table without a tree"
    found.append(result("audit.entries_per_second", 1 / late, "1/s", plain, was, entries=size))
    was = "reading one leaf by its index"
    found.append(
        result("audit.proof_ms", proof_big, "ms", proof_milliseconds(engine, size, plain=True), was, entries=size)
    )
    was = f"sequencing an entry at {first} entries, each against a plain row at that moment"
    found.append(result("audit.growth_ratio", late * plain / early, "x", 1.0, was, entries=size))
    was = f"a proof at {first} entries"
    found.append(result("audit.proof_growth_ratio", proof_big / proof_small, "x", 1.0, was, entries=size))
    found += bench_export(engine, scratch, exported_small, first)
    return [*found, bench_lag(engine, max(3.0, min(20.0, 20 * scale * 10)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--export-to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export_to is not None:
        export_once(options.export_to)
        return
    out: Path = options.out
    with own_servers() as (running, scratch):
        migrate(running.database_url)
        engine = open_engine(running.database_url, pool_size=THREADS)
        found = run(engine, scratch, float(os.environ.get("BENCH_SCALE", "1")))
        engine.dispose()
    tell(found, out)


if __name__ == "__main__":
    main()
