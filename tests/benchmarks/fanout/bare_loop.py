"""The yardstick: the same calls without an engine, over kept-alive connections."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.benchmarks.fanout.installation import (
    SYSTEMS,
    Vendor,
)
from tests.benchmarks.fanout.round import Round


def bare_loop(found: Vendor, people: int, threads: int) -> Round:
    """Look up, delete and look again for every pair, over kept-alive connections, with nothing around it."""
    found_pairs = [(f"s{s}", f"p{n}@bench.example") for s in range(SYSTEMS) for n in range(people)]
    parts = [found_pairs[i::threads] for i in range(threads)]

    def work(pairs: list[tuple[str, str]]) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{found.port}") as client:
            for system, email in pairs:
                people_found = client.get(f"/{system}/people", params={"email": email}).json()["people"]
                client.delete(f"/{system}/people/{people_found[0]['id']}").raise_for_status()
                if client.get(f"/{system}/people", params={"email": email}).json()["people"]:
                    raise AssertionError("the vendor kept somebody")

    cpu, wall = time.process_time(), time.perf_counter()
    if threads == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    return Round(
        len(found_pairs),
        (time.process_time() - cpu) * 1_000 / len(found_pairs),
        time.perf_counter() - wall,
        found.stats()["calls"],
        {},
    )
