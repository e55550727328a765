"""What one call to a vendor costs us: the toolkit's client and the system's pacer against httpx's own client.

    python -m tests.benchmarks.bench_calls [--out bench.json]

BENCH_SCALE (default 1) scales the people. Both make the same calls (look up, delete, look again), in turns, and read
the same answers; the yardstick has neither pacer nor lease, nor does it check anything. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from connectors.base.destinations import NetworkRules
from connectors.base.toolkit.http import VendorClient
from service.execution.systems.rate_limiter import RateGate
from service.execution.systems.throttle import Throttle
from tests.benchmarks.fanout.installation import Vendor, vendor
from tests.benchmarks.results import tell

HERE = NetworkRules(allow_private_hosts=frozenset({"127.0.0.1"}))
CALLS_PER_PERSON = 3
_Work = Callable[[range], None]


class _Held:
    def still_held(self) -> frozenset[str]:
        """Nobody was stopped."""
        return frozenset()


def _bare(found: Vendor) -> _Work:
    def work(people: range) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{found.port}/s0") as client:
            for n in people:
                params = {"email": f"p{n}@bench.example"}
                person = client.get("/people", params=params).json()["people"][0]
                client.delete(f"/people/{person['id']}").raise_for_status()
                client.get("/people", params=params).json()["people"]

    return work


def _paced(client: VendorClient) -> _Work:
    def work(people: range) -> None:
        for n in people:
            params = {"email": f"p{n}@bench.example"}
            person = client.request("GET", "/people", expect=(200,), params=params).field("people", list)[0]
            client.request("DELETE", f"/people/{person['id']}", expect=(204, 404))
            client.request("GET", "/people", expect=(200,), params=params).field("people", list)

    return work


def _microseconds(found: Vendor, work: _Work, people: int, threads: int) -> float:
    """CPU of this process per call; the vendor has a process of its own."""
    found.reset(people)
    parts = [range(n, people, threads) for n in range(threads)]
    begun = time.process_time()
    if threads == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    spent = time.process_time() - begun
    if found.stats()["calls"] != people * CALLS_PER_PERSON:
        raise AssertionError("other calls were made")
    return spent * 1e6 / (people * CALLS_PER_PERSON)


def _ours(found: Vendor, people: int, threads: int) -> float:
    pacer = Throttle("s0", (), RateGate(None, lambda: 1))
    client = VendorClient(f"http://127.0.0.1:{found.port}/s0", pacer=pacer, network=HERE)
    try:
        with pacer.run(people, _Held()):
            return _microseconds(found, _paced(client), people, threads)
    finally:
        client.close()


def measure(found: Vendor, people: int, rounds: int, threads: int) -> dict[str, Any]:
    """The two in turns; the median of each."""
    pairs = [
        (_ours(found, people, threads), _microseconds(found, _bare(found), people, threads)) for _ in range(rounds)
    ]
    value, yardstick = median(p[0] for p in pairs), median(p[1] for p in pairs)
    return {
        "name": f"fanout.call_cpu_us_{threads}_threads",
        "value": round(value, 1),
        "unit": "us",
        "yardstick": round(yardstick, 1),
        "yardstick_is": "httpx.Client without anything around it, as many threads",
        "ratio": round(median(ours / bare for ours, bare in pairs), 4),
    }


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    out: Path = parser.parse_args().out
    people = max(50, int(1_000 * float(os.environ.get("BENCH_SCALE", "1"))))
    with vendor() as found:
        results = [measure(found, people, 7, threads) for threads in (1, 4, 8)]
    tell(results, out)


if __name__ == "__main__":
    main()
