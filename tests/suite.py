"""Plugin of the suite itself: the order of its tests among the processes, and when Python collects garbage."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import pytest

T = TypeVar("T")
# Imports and the collection of tests make half a million objects that stay; looking through them again and again for
# circles took a third of that time, and about a seventh of one conformance file's own (measured 2026-12-01).
gc.disable()


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
    """Begin every process with its share of the tests that run a whole service, so that none is left for the end.

    pytest-xdist gives each process one part of the list; what has nothing left to do takes from the end of another's.
    """
    long = [item for name in ("journey", "fault") for item in items if item.get_closest_marker(name)]
    items[:] = spread(long, [item for item in items if item not in set(long)], processes())


def processes() -> int:
    """How many processes share the tests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def spread(long: Sequence[T], others: Sequence[T], processes: int) -> list[T]:
    """All of both; each of so many even parts begins with its share of the long ones."""
    rest = iter(others)
    spread: list[T] = []
    for process in range(processes):
        part = (len(long) + len(others) - len(spread)) // (processes - process)
        own = long[process::processes]
        spread += [*own, *islice(rest, max(0, part - len(own)))]
    return [*spread, *rest]
