"""Statements in calls: all of them travel, each call can show that it sees, and no call more than that takes."""

from __future__ import annotations

import pytest

from connectors.salesforce.org.statement_packing import loads, room_beside


@pytest.mark.parametrize("expecting", [True, False])
def test_every_statement_travels_once_and_no_call_has_more_than_five(expecting: bool) -> None:
    for count in range(40):
        for sure in (range(0), range(0, count, 4), range(count)):
            calls = loads(count, sure, expecting=expecting)
            assert sorted(n for call in calls for n in call.numbers) == list(range(count))
            assert all(len(call.numbers) + call.has_control <= 5 for call in calls)


def test_where_nothing_is_expected_each_call_has_its_proof() -> None:
    for count in range(1, 40):
        for sure in (range(0), range(0, count, 9), range(count)):
            for call in loads(count, sure, expecting=False):
                assert call.has_control or set(call.numbers) & set(sure)


def test_where_rows_are_expected_there_is_no_call_for_the_proof_alone() -> None:
    assert [len(loads(count)) for count in (0, 1, 5, 6, 10, 11)] == [0, 1, 1, 2, 2, 3]
    # One place is left: it takes a control, in the call that is the likelier to show nothing.
    assert [call.has_control for call in loads(9)] == [False, True]


def test_what_proves_comes_last_in_its_call() -> None:
    (call,) = loads(4, [0])
    assert call.numbers == (1, 2, 3, 0)


def test_the_room_beside_leaves_each_call_its_proof() -> None:
    for count in range(1, 30):
        for sure in range(count):
            room = room_beside(count, sure)
            before, after = loads(count, range(sure)), loads(count + room, range(sure))
            assert len(before) == len(after)
            if room:
                assert all(call.has_control or set(call.numbers) & set(range(sure)) for call in after)
