"""Plugin of the suite itself: the order of its tests among the processes, and when Python collects garbage."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from itertools import groupby, islice

import pytest

# Imports and the collection of tests make half a million objects that stay; looking through them again and again for
# circles took a third of that time, and about a seventh of one conformance file's own (measured 2026-12-01).
gc.disable()
# Rooms whose tests take milliseconds: the last tests of every process, because few of them fit into any gap.
QUICK = ("tests/unit/", "tests/architecture/")
_UNMARKED_SECONDS = 20.0


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but not among what was imported."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def pytest_unconfigure() -> None:
    """Give everything back, because extensions complain at the end of a process about objects that are left."""
    gc.unfreeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin every process with its share of the slow tests and end it with quick ones, so that all end together.

    pytest-xdist gives each process one part of the list; a process without work takes from the end of another's part.
    It never takes the last two: two slow tests at the end of one part made the others wait for two minutes.
    """
    items[:] = spread(items, processes())


def processes() -> int:
    """How many processes share the tests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def spread(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """All items, as one even part per process: its slow tests, whole modules of the ordinary ones, quick tests."""
    slow = sorted(filter(_seconds, items), key=_seconds, reverse=True)
    rest = [item for item in items if not _seconds(item)]
    quick = [item for item in rest if item.nodeid.startswith(QUICK)]
    parts: list[list[pytest.Item]] = [[] for _ in range(processes)]
    _deal(parts, [[item] for item in slow], seconds=True)
    ordinary = (item for item in rest if not item.nodeid.startswith(QUICK))
    _deal(parts, [list(module) for _, module in groupby(ordinary, key=_module)], seconds=False)
    left = iter(quick)
    done: list[pytest.Item] = []
    for number, part in enumerate(parts):
        # As many as pytest-xdist will give to this process.
        size = (len(items) - len(done)) // (processes - number)
        done += [*part, *islice(left, max(0, size - len(part)))]
    return [*done, *left]


def _deal(parts: list[list[pytest.Item]], hands: list[list[pytest.Item]], *, seconds: bool) -> None:
    """Give each hand of items to the part that has least."""
    weights = [0.0] * len(parts)
    for hand in hands:
        least = weights.index(min(weights))
        parts[least] += hand
        weights[least] += sum(map(_seconds, hand)) if seconds else len(hand)


def _seconds(item: pytest.Item) -> float:
    """How long a test takes that is marked as slow; 0 for others."""
    mark = item.get_closest_marker("slow")
    return float(mark.kwargs["seconds"]) if mark is not None else 0.0


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that should begin early and don't."""
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and report.duration > _UNMARKED_SECONDS and "slow" not in report.keywords:
            terminalreporter.write_line(
                f"took {report.duration:.0f} s; to begin it early, mark it slow: {report.nodeid}"
            )
