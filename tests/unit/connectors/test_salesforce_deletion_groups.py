"""Lanes and statements: nothing overlaps under one Account, no call is added, every value is asked for once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.salesforce.deletion.deletion_groups import MAX_QUEUES, Groups, in_queues
from connectors.salesforce.org.soql import MAX_STATEMENT, by_id, selects


def _calls(items: Sequence[tuple[str, int]]) -> int:
    return -(-len(items) // 5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), max_size=60))
def test_queues_share_no_group_keep_the_order_and_cost_nothing(items: list[tuple[str, int]]) -> None:
    queues = in_queues(items, lambda item: item[0], _calls)
    assert 1 <= len(queues) <= MAX_QUEUES
    assert sorted(item for queue in queues for item in queue) == sorted(items)
    assert sum(map(_calls, queues)) <= _calls(items)
    for queue in queues:
        for group in {name for name, _ in queue}:
            assert [i for i in queue if i[0] == group] == [i for i in items if i[0] == group]
        others = {name for other in queues if other is not queue for name, _ in other}
        assert not others & {name for name, _ in queue}


def test_many_groups_do_run_side_by_side() -> None:
    items = [(f"account{n % 8}", n) for n in range(80)]
    assert len(in_queues(items, lambda item: item[0], _calls)) == MAX_QUEUES


def test_who_shares_an_account_by_another_is_in_one_group() -> None:
    groups = Groups()
    groups.connect(["ada", "account1"])
    groups.connect(["bob", "account2"])
    assert groups.of("ada") != groups.of("bob")
    groups.connect(["account1", "account2"])
    assert groups.of("ada") == groups.of("bob")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("abc'\\ü", min_size=1, max_size=30), max_size=60), st.integers(0, 7))
def test_statements_ask_for_every_value_once_within_their_limits(values: list[str], most: int) -> None:
    texts = selects(["Id"], "Contact", [("Email", values), ("Phone", values)], "IsPersonAccount = true", most)
    literals = [re.findall(r"'(?:[^'\\]|\\.)*'", text) for text in texts]
    assert sum(map(len, literals)) == 2 * len(set(values))
    assert all(len(text) <= MAX_STATEMENT for text in texts)
    assert not most or all(len(found) <= most for found in literals)


def test_a_full_statement_goes_on_in_the_next_one() -> None:
    values = [f"person.{n}@example.test" for n in range(9_000)]
    texts = selects(["Id"], "Contact", [("Email", values), ("Second__c", values)])
    assert all(MAX_STATEMENT - 100 < len(text) <= MAX_STATEMENT for text in texts[:-1])


def test_only_ids_are_shortened() -> None:
    assert by_id("003000000000001AAA") == "003000000000001"
    assert by_id("ada.lovelace@exam.") == "ada.lovelace@exam."
