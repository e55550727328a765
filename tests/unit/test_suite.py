"""The order in which the suite's processes run the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from tests.suite import spread


@dataclass(frozen=True)
class Item:
    """What the order reads of a collected test."""

    nodeid: str
    seconds: float = 0.0

    def get_closest_marker(self, name: str) -> Any:
        return getattr(pytest.mark, name)(seconds=self.seconds).mark if self.seconds else None


def ordered(items: list[Item], processes: int) -> list[Item]:
    return cast("list[Item]", spread(cast("list[pytest.Item]", items), processes))


def items_of(module: str, count: int) -> list[Item]:
    return [Item(f"tests/{module}.py::test_{n}") for n in range(count)]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize(("slow", "ordinary", "quick"), [(7, 50, 50), (0, 5, 0), (5, 0, 0), (3, 40, 1), (1, 0, 0)])
def test_no_test_is_lost(slow: int, ordinary: int, quick: int, processes: int) -> None:
    items = [Item(f"tests/journeys/test_a.py::test_{n}", seconds=n + 1) for n in range(slow)]
    items += items_of("integration/test_b", ordinary) + items_of("unit/test_c", quick)
    assert sorted(map(repr, ordered(items, processes))) == sorted(map(repr, items))


def test_each_process_begins_with_slow_tests_and_ends_with_quick_ones() -> None:
    slow = [Item(f"tests/integration/test_s.py::test_{n}", seconds=n) for n in (10, 50, 20, 30)]
    ordinary = [test for module in "abc" for test in items_of(f"integration/test_{module}", 10)]
    result = ordered([*slow, *ordinary, *items_of("unit/test_u", 26)], 3)
    parts = [result[:20], result[20:40], result[40:]]
    assert [[item.seconds for item in part if item.seconds] for part in parts] == [[50], [30], [20, 10]]
    assert all(part[0].seconds for part in parts)
    assert all(item.nodeid.startswith("tests/unit/") for part in parts for item in part[-5:])


def test_a_module_stays_with_one_process() -> None:
    ordinary = [test for module in "abcdef" for test in items_of(f"integration/test_{module}", 4)]
    result = ordered([*ordinary, *items_of("unit/test_u", 6)], 3)
    parts = [result[:10], result[10:20], result[20:]]
    for module in "abcdef":
        assert sum(any(f"test_{module}.py" in item.nodeid for item in part) for part in parts) == 1
