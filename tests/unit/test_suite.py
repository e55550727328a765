"""The order in which the suite's processes run the tests."""

import pytest

from tests.suite import spread


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize(("long", "others"), [(7, 100), (0, 5), (5, 0), (3, 1), (1, 0)])
def test_no_test_is_lost(long: int, others: int, processes: int) -> None:
    names = ([f"long {n}" for n in range(long)], [f"other {n}" for n in range(others)])
    assert sorted(spread(*names, processes)) == sorted([*names[0], *names[1]])


def test_each_process_begins_with_its_share_of_the_long_ones() -> None:
    ordered = spread(["a", "b", "c"], [str(n) for n in range(14)], 3)
    parts = [ordered[:5], ordered[5:11], ordered[11:]]
    assert [part[0] for part in parts] == ["a", "b", "c"]
    assert all(name.isdigit() for part in parts for name in part[1:])
