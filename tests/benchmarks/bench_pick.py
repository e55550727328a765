"""What picking the next batch costs, with a million finished steps and a hundred thousand due ones.

    python -m tests.benchmarks.bench_pick [--out bench.json]

BENCH_SCALE (default 1) scales both. The yardstick is the same question in a store that holds one batch and nothing
else; both are asked in turns, with the statistics of a store in which nothing was due. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from service.domain.execution.fair_queues import URGENT_FAIR_QUEUE
from service.store.engine import open_engine
from service.store.migrate import migrate
from tests.benchmarks.own_servers import own_servers
from tests.benchmarks.results import tell
from tests.integration.execution.select.rows import Desk, settings_with

PEOPLE = 100
ROUNDS = 60
_SETTINGS = settings_with(batch_size=PEOPLE, max_batching_delay_seconds=0)
_A_STATEMENT = 100_000


def fill(desk: Desk, finished: int, due: int) -> None:
    """Finished steps, analysed; then due ones: most of one bulk submission over ten deadlines, and one marked."""
    for start in range(0, finished, _A_STATEMENT):
        desk.add(min(_A_STATEMENT, finished - start), phase="confirm", state="absent")
    desk.write("ANALYZE")
    bulk = uuid4()
    for day in range(10):
        desk.add(due * 9 // 100, fair_queue=bulk, days_left=3 + day)
    desk.add(due - 10 * (due * 9 // 100) - 1, days_left=20)
    desk.add(1, days_left=28, fair_queue=URGENT_FAIR_QUEUE)


def milliseconds(desk: Desk) -> float:
    """One pick of a full batch."""
    begin = time.perf_counter()
    picked = desk.first(_SETTINGS)
    spent = (time.perf_counter() - begin) * 1000
    assert len(picked.step_ids) >= PEOPLE // 2
    return spent


def measure(full: Desk, empty: Desk) -> dict[str, Any]:
    """The two in turns; the median of each."""
    times: list[tuple[float, float]] = [(milliseconds(full), milliseconds(empty)) for _ in range(ROUNDS)]
    value, yardstick = median(t[0] for t in times[10:]), median(t[1] for t in times[10:])
    return {
        "name": "fanout.pick_ms_per_batch",
        "value": round(value, 3),
        "unit": "ms",
        "yardstick": round(yardstick, 3),
        "yardstick_is": "the same pick where one batch is due and nothing has finished",
        "ratio": round(value / yardstick, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    out: Path = parser.parse_args().out
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    with own_servers(durable=False) as (running, _):
        desks = []
        for url in (running.database_url, running.key_database_url):
            migrate(url)
            desks.append(Desk(open_engine(url)).open())
        full, empty = desks
        fill(full, int(1_000_000 * scale), int(100_000 * scale))
        empty.write("ANALYZE")
        empty.add(PEOPLE, days_left=20)
        found = measure(full, empty)
        for desk in desks:
            desk.engine.dispose()
    tell([found], out)


if __name__ == "__main__":
    main()
