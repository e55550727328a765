"""What the fan-out costs above the calls that it makes.

    python -m tests.benchmarks.bench_fanout [--out bench.json] [--only single,latency20,batch,growth,workers]

BENCH_SCALE (default 1) scales the people. Service and yardstick take turns in the same run; the median of the rounds is
kept, and the share of time that the machine was taken away (steal) is reported. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from celery import Celery

from service.settings import EngineSettings
from service.store.audit_log.log import oldest_pending_seconds
from tests.benchmarks.fanout.bare_loop import bare_loop
from tests.benchmarks.fanout.finished import add_finished
from tests.benchmarks.fanout.installation import (
    SYSTEMS,
    Installation,
    Vendor,
    cpu_of_tree,
    installed,
    vendor,
    working,
    write_config,
)
from tests.benchmarks.fanout.minimal_engine import fill, run
from tests.benchmarks.fanout.plugin import install_plugin
from tests.benchmarks.fanout.round import Round
from tests.benchmarks.fanout.vendor import MOST_PEOPLE_PER_CALL
from tests.benchmarks.results import tell

_LONGEST_ROUND_SECONDS = 900.0
_LAG_EVERY_SECONDS = 0.5
_LONGEST_START_SECONDS = 120.0
_FIRST_ROUNDS = 3
_WORKERS = 3
_DEFAULT_TICK = EngineSettings().tick_seconds
# Answered and in the log as well: that is paid for, too.
_ALL_DONE = (
    "SELECT NOT EXISTS (SELECT 1 FROM audit_pending)"
    " AND NOT EXISTS (SELECT 1 FROM requests WHERE state IN ('open', 'in_progress') AND overdue_at IS NULL)"
)


def _steal() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


# --- the service ------------------------------------------------------------------------------------------------------


def serve(installation: Installation, found: Vendor, python_path: str, people: int, workers: int) -> Round:
    """From accepted to verified, for all people in all systems. Starting the processes isn't measured."""
    before = _ended(installation)
    with working(installation, python_path, workers) as supervisor:
        _settle(installation)
        servers = installation.cpu_by_server()
        cpu = {name: cpu_of_tree(pid) for name, pid in supervisor.pids().items()}
        wall = time.perf_counter()
        _release(installation)
        lags: list[float] = []

        def all_ended() -> bool:
            if len(lags) <= (time.perf_counter() - wall) / _LAG_EVERY_SECONDS:
                lags.append(_audit_lag(installation))
            # The vendors' word first: it costs the database nothing, and what is asked there is asked of small indexes.
            return found.stats()["left"] == 0 and _nothing_is_under_way(installation)

        _until(all_ended, installation)
        seconds = time.perf_counter() - wall
        _until(lambda: installation.rows(_ALL_DONE)[0][0] is True, installation)
        parts = {name: cpu_of_tree(pid) - cpu[name] for name, pid in supervisor.pids().items()}
        now = installation.cpu_by_server()
        parts |= {name: now[name] - servers[name] for name in now}
    pairs = people * SYSTEMS
    if _ended(installation) - before != pairs:
        raise AssertionError("not all pairs ended")
    wrong = installation.rows("SELECT state, count(*) FROM steps WHERE state <> 'erased_verified' GROUP BY 1")
    if wrong or found.stats()["left"]:
        raise AssertionError(f"not all pairs ended erased_verified: {wrong}, {found.stats()}")
    parts = {name: round(seconds_ * 1_000 / pairs, 4) for name, seconds_ in parts.items()}
    return Round(pairs, sum(parts.values()), seconds, found.stats()["calls"], parts, tuple(lags))


def _ended(installation: Installation) -> int:
    return int(str(installation.rows("SELECT count(*) FROM steps WHERE ended_at IS NOT NULL")[0][0]))


def _nothing_is_under_way(installation: Installation) -> bool:
    return not installation.rows(
        "SELECT EXISTS (SELECT 1 FROM batches WHERE system LIKE 's_' AND ended_at IS NULL)"
        " OR EXISTS (SELECT 1 FROM steps WHERE system = ANY(ARRAY(SELECT name FROM systems))"
        " AND state IN ('due', 'accepted') AND batch_id IS NULL)"
    )[0][0]


def _audit_lag(installation: Installation) -> float:
    """How old the oldest entry is that isn't in the tree yet."""
    with installation.stores.engine.begin() as connection:
        return oldest_pending_seconds(connection)


def _hold_back(installation: Installation) -> None:
    """Nothing of what is submitted is due before everything runs."""
    installation.rows(
        "WITH moved AS (UPDATE requests SET due_at = 'infinity' WHERE next_action = 'identify' RETURNING 1)"
        " SELECT count(*) FROM moved"
    )


def _release(installation: Installation) -> None:
    installation.rows(
        "WITH moved AS (UPDATE requests SET due_at = clock_timestamp() WHERE next_action = 'identify' RETURNING 1)"
        " SELECT count(*) FROM moved"
    )


def _settle(installation: Installation) -> None:
    """Wait until every process has started and done its first rounds: on a loaded machine that takes long.

    Beat's messages show that beat has started; the workers count the tasks that they ran.
    """
    until = time.monotonic() + _LONGEST_START_SECONDS
    inspect = Celery(broker=installation.found.urls["broker_url"]).control.inspect(timeout=1.0)
    while True:
        stats = inspect.stats() or {}
        ran = {task for each in stats.values() for task, runs in each["total"].items() if runs >= _FIRST_ROUNDS}
        if len(stats) == _WORKERS and {"expunge.tick", "expunge.sequence"} <= ran:
            return
        if time.monotonic() > until:
            raise AssertionError(f"the workers did not start: {stats}")
        time.sleep(0.5)


def _until(condition: Callable[[], bool], installation: Installation) -> None:
    until = time.monotonic() + _LONGEST_ROUND_SECONDS
    while not condition():
        if time.monotonic() > until:
            left = installation.rows("SELECT phase, state, reason, count(*) FROM steps GROUP BY 1, 2, 3")
            raise AssertionError(f"the round did not end: {left}")
        time.sleep(0.1)


@contextmanager
def round_of(found: Vendor, connector: str, **engine: float) -> Iterator[Installation]:
    """A fresh installation in a directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="expunge-bench-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        settings = write_config(directory / "expunge.toml", connector, found.port, directory / "data", **engine)
        with installed(settings) as installation:
            yield installation
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def one_round(
    found: Vendor,
    connector: str,
    python_path: str,
    people: int,
    workers: int,
    latency_ms: float = 0.0,
    finished: int = 0,
    **engine: float,
) -> Round:
    """A fresh installation, people submitted, and how long the rest takes. `finished` pairs are there before."""
    with round_of(found, connector, **engine) as installation:
        if finished:
            add_finished(installation.stores.engine, finished)
        found.reset(people, latency_ms)
        installation.submit(people)
        _hold_back(installation)
        return serve(installation, found, python_path, people, workers)


def minimal_round(found: Vendor, people: int) -> float:
    """CPU per pair, in ms, of the minimal engine and its database: the yardstick of the batch scenario."""
    with round_of(found, "bench_told") as installation:
        url = installation.stores.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
        fill(url, SYSTEMS, people)
        found.reset(people)
        before = installation.cpu_by_server()["postgresql"]
        ran = run(url, found.port, SYSTEMS)
        server = installation.cpu_by_server()["postgresql"] - before
        if ran.pairs != people * SYSTEMS or found.stats()["left"]:
            raise AssertionError("the minimal engine did not erase all pairs")
    return (ran.cpu_seconds + server) * 1_000 / ran.pairs


# --- the scenarios ----------------------------------------------------------------------------------------------------


def result(name: str, value: float, unit: str, yardstick: float, was: str, **more: Any) -> dict[str, Any]:
    """One figure of bench.json."""
    ratio = round(value / yardstick, 4) if yardstick else None
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "yardstick": round(yardstick, 4),
        "yardstick_is": was,
        "ratio": ratio,
        **more,
    }


def single(found: Vendor, path: str, people: int, rounds: int) -> list[dict[str, Any]]:
    """(a) one person per call, a vendor that answers at once; also at the engine's default of one tick a second."""
    ours, bare, default = [], [], []
    for _ in range(rounds):
        found.reset(people)
        bare.append(bare_loop(found, people, 1))
        ours.append(one_round(found, "bench_one", path, people, workers=2))
        default.append(one_round(found, "bench_one", path, people, workers=2, tick_seconds=_DEFAULT_TICK))
    cpu, loop = median(r.cpu_ms for r in ours), median(r.cpu_ms for r in bare)
    wall = median(b.wall_seconds / o.wall_seconds for o, b in zip(ours, bare, strict=True))
    more = {"pairs": ours[0].pairs, "parts": ours[-1].parts, "calls": ours[-1].calls}
    was = "the same calls in a bare keep-alive loop, one thread"
    return [
        result("fanout.single.cpu_ms_per_pair", cpu, "ms", loop, was, target=4.5, **more),
        result("fanout.single.overhead_ms_per_pair", cpu - loop, "ms", loop, was, target=1.2),
        result("fanout.single.wall_ratio", wall, "x", 1.0, "pairs per second of that loop", target=1.0),
        result(
            "fanout.single_at_default_tick.overhead_ms_per_pair",
            median(r.cpu_ms for r in default) - loop,
            "ms",
            loop,
            was,
            parts=default[-1].parts,
        ),
    ]


def latency20(found: Vendor, path: str, people: int, rounds: int) -> list[dict[str, Any]]:
    """(a) the same at 20 ms of the vendor's."""
    ratios = []
    for _ in range(rounds):
        found.reset(people, 20)
        bare = bare_loop(found, people, 8)
        ours = one_round(found, "bench_one", path, people, workers=2, latency_ms=20)
        ratios.append(bare.wall_seconds / ours.wall_seconds)
    was = "pairs per second of the bare loop in 8 threads"
    return [result("fanout.latency20.wall_ratio", median(ratios), "x", 1.0, was, target=0.85)]


def batch(found: Vendor, path: str, people: int, rounds: int) -> list[dict[str, Any]]:
    """(b) a hundred people per call: told whom to erase, then looked at. And where they must be searched for first."""
    ours, searched, minimal = [], [], []
    for _ in range(rounds):
        minimal.append(minimal_round(found, people))
        ours.append(one_round(found, "bench_told", path, people, workers=2))
        searched.append(one_round(found, "bench_many", path, people, workers=2))
    floor = SYSTEMS * -(-people // MOST_PEOPLE_PER_CALL)
    cpu = median(r.cpu_ms for r in ours)
    of_searched = {"pairs": searched[0].pairs, "parts": searched[-1].parts}
    more = {"pairs": ours[0].pairs, "parts": ours[-1].parts, "wall_seconds": round(ours[-1].wall_seconds, 2)}
    return [
        result(
            "fanout.batch.cpu_ms_per_pair", cpu, "ms", median(minimal), "the minimal engine", target_ratio=2.0, **more
        ),
        result(
            "fanout.batch.calls_over_floor",
            median(r.calls for r in ours) / (2 * floor),
            "x",
            1.0,
            "one call to erase and one to look for a hundred people each",
            target=1.1,
        ),
        result(
            "fanout.batch_searched.cpu_ms_per_pair",
            median(r.cpu_ms for r in searched),
            "ms",
            cpu,
            "the same where nobody is searched first",
            **of_searched,
        ),
        result(
            "fanout.batch_searched.calls_over_floor",
            median(r.calls for r in searched) / (3 * floor),
            "x",
            1.0,
            "look-up, delete, look-up for a hundred people each",
            target=1.1,
        ),
        result("fanout.batch.audit_lag_p99_seconds", _p99(ours), "s", 2.0, "the target"),
    ]


def _p99(rounds: Sequence[Round]) -> float:
    lags = sorted(lag for each in rounds for lag in each.audit_lag_seconds)
    return lags[min(len(lags) - 1, int(len(lags) * 0.99))]


def growth(found: Vendor, path: str, people: int, rounds: int, finished: int) -> list[dict[str, Any]]:
    """(c) the same on top of finished work."""
    ratios = []
    for _ in range(rounds):
        empty = one_round(found, "bench_told", path, people, workers=2)
        full = one_round(found, "bench_told", path, people, workers=2, finished=finished)
        ratios.append(full.cpu_ms / empty.cpu_ms)
    was = "CPU per pair on an empty store"
    return [result("fanout.growth_ratio", median(ratios), "x", 1.0, was, target=1.2, finished_pairs=finished)]


def workers(found: Vendor, path: str, people: int, rounds: int) -> list[dict[str, Any]]:
    """(f) one, two and four worker processes, at 20 ms of the vendor's."""
    seconds: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for _ in range(rounds):
        for count, found_seconds in seconds.items():
            ran = one_round(found, "bench_one", path, people, workers=count, latency_ms=20)
            found_seconds.append(ran.wall_seconds)
    wall = {count: round(median(each), 2) for count, each in seconds.items()}
    was = "pairs per second of one worker"
    return [result("fanout.workers_ratio", wall[1] / wall[4], "x", 1.0, was, wall_seconds=wall)]


def main() -> None:
    """Run what was asked for and write it down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--only", default="single,latency20,batch,growth,workers")
    arguments = parser.parse_args()
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "5"))
    chosen = arguments.only.split(",")
    directory = Path(tempfile.mkdtemp(prefix="expunge-bench-", dir="/tmp"))
    found_results: list[dict[str, Any]] = []
    stolen, begun = _steal(), time.perf_counter()
    try:
        path = install_plugin(directory)
        with vendor() as found:
            if "single" in chosen:
                found_results += single(found, path, max(20, int(1_000 * scale)), rounds)
            if "latency20" in chosen:
                found_results += latency20(found, path, max(20, int(1_000 * scale)), rounds)
            if "batch" in chosen:
                found_results += batch(found, path, max(100, int(10_000 * scale)), rounds)
            if "growth" in chosen:
                finished = max(1_000, int(1_000_000 * scale))
                found_results += growth(found, path, max(100, int(2_000 * scale)), rounds, finished)
            if "workers" in chosen:
                found_results += workers(found, path, max(20, int(500 * scale)), rounds)
    finally:
        shutil.rmtree(directory)
    share = (_steal() - stolen) / max(time.perf_counter() - begun, 0.001) / (psutil.cpu_count() or 1)
    for each in found_results:
        each["steal_share"] = round(share, 4)
    tell(found_results, arguments.out)


if __name__ == "__main__":
    main()
