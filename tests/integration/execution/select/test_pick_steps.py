"""What is leased next: by time left, shared fairly, together with others where that pays; and what asking costs."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import TextClause, text

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE
from service.execution import select as pick_steps
from service.execution.due import due_systems
from service.execution.lease import lease_steps
from service.execution.select import AgainPick, FreshPick
from tests.integration.execution.select.rows import SYSTEM, Desk, settings_with

PATIENT = settings_with(max_batching_delay_seconds=30.0, batch_size=10)
AT_ONCE = settings_with(max_batching_delay_seconds=0.0, batch_size=20)
BULK, OTHER_BULK = uuid4(), uuid4()


def leaves(desk: Desk) -> bool:
    """True if there is a batch to lease; the dispatcher and the lease must agree about it."""
    told = [s.name for s in due_systems(desk.stores, PATIENT, nudge_again_seconds=0.0)]
    assert told == ([SYSTEM] if desk.is_leasable(PATIENT) else [])
    assert bool(desk.picked(PATIENT)) is bool(told)
    return bool(told)


def test_a_batch_that_is_not_full_waits_for_company(desk: Desk) -> None:
    desk.add(9, due_for=1)
    assert not leaves(desk)
    assert lease_steps(desk.stores, PATIENT, SYSTEM) is None
    desk.add(1, due_for=0.5)
    assert leaves(desk)
    assert len(desk.first(PATIENT).step_ids) == 10


@pytest.mark.parametrize(
    "more",
    [{"due_for": 31}, {"days_left": 1}, {"days_left": -9}, {"fair_queue": URGENT_FAIR_QUEUE}],
    ids=lambda more: next(iter(more)),
)
def test_nobody_waits_too_long_nor_when_it_is_urgent(desk: Desk, more: dict[str, Any]) -> None:
    desk.add(3, due_for=1)
    assert not leaves(desk)
    desk.add(1, **{"due_for": 1, **more})
    assert leaves(desk)
    # Who waited for company goes along.
    assert len(desk.first(PATIENT).step_ids) == 4


def test_after_its_search_a_step_waits_only_if_somebody_is_on_the_way(desk: Desk) -> None:
    desk.add(2, phase="erase", due_for=1)
    assert leaves(desk)
    desk.add(1, phase="erase", due_for=-5)
    assert not leaves(desk)
    desk.write("DELETE FROM steps WHERE due_at > clock_timestamp()")
    assert leaves(desk)
    desk.add(1, phase="locate", due_for=-60)
    assert not leaves(desk)
    desk.write("DELETE FROM steps WHERE phase = 'locate'")
    desk.write(
        "UPDATE requests SET next_action = 'freeze', due_at = now() WHERE id IN (SELECT id FROM requests LIMIT 1)"
    )
    assert not leaves(desk)
    desk.write("UPDATE requests SET next_action = NULL")
    held = desk.batch(phase="suppress", lease=30)
    assert not leaves(desk)
    desk.write("UPDATE batches SET lease_until = NULL WHERE id = :id", id=held)
    assert leaves(desk)


def test_at_most_half_of_a_batch_is_one_bulk_submissions_while_others_wait(desk: Desk) -> None:
    desk.add(100, fair_queue=BULK, days_left=3)
    assert desk.first(AT_ONCE).bulk == BULK
    desk.add(40, days_left=20)
    assert desk.fair_queues(desk.first(AT_ONCE)) == {BULK: 10, DEFAULT_FAIR_QUEUE: 10}
    assert desk.first(AT_ONCE).bulk is None
    desk.add(5, fair_queue=OTHER_BULK, days_left=4)
    assert desk.fair_queues(desk.first(AT_ONCE)) == {BULK: 10, OTHER_BULK: 5, DEFAULT_FAIR_QUEUE: 5}


def test_what_the_others_leave_free_is_filled(desk: Desk) -> None:
    desk.add(100, fair_queue=BULK, days_left=3)
    desk.add(1, days_left=25)
    desk.add(1, days_left=25, fair_queue=URGENT_FAIR_QUEUE)
    assert desk.fair_queues(desk.first(AT_ONCE)) == {BULK: 18, DEFAULT_FAIR_QUEUE: 1, URGENT_FAIR_QUEUE: 1}


def test_the_urgent_one_leaves_in_the_next_batch_before_a_hundred_thousand(desk: Desk) -> None:
    # A thousand here; tests/benchmarks has the hundred thousand. One person a call, the import older and sooner due.
    alone = settings_with(batch_size=1)
    desk.add(1000, fair_queue=BULK, days_left=3, due_for=600)
    desk.add(1, fair_queue=URGENT_FAIR_QUEUE, days_left=28, due_for=0)
    assert desk.fair_queues(desk.first(alone)) == {URGENT_FAIR_QUEUE: 1}


def test_batches_of_one_take_turns(desk: Desk) -> None:
    alone = settings_with(batch_size=1)
    desk.add(30, fair_queue=BULK, days_left=3)
    desk.add(30, days_left=25)
    fair_queues: list[UUID] = []
    last: UUID | None = None
    for _ in range(6):
        pick = desk.first(alone, last_bulk=last)
        fair_queues += desk.fair_queues(pick)
        last = pick.bulk
        desk.write("DELETE FROM steps WHERE id = ANY(:ids)", ids=list(pick.step_ids))
    assert fair_queues == [BULK, DEFAULT_FAIR_QUEUE] * 3


def test_the_store_remembers_who_had_the_last_batch_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[UUID | None] = []
    real = pick_steps.in_turn
    monkeypatch.setattr(pick_steps, "in_turn", lambda heads, last: asked.append(last) or real(heads, last))
    monkeypatch.setattr("service.execution.lease._open", lambda stores, batch, *others: batch)
    desk.add(30, fair_queue=BULK, days_left=3)
    for _ in range(2):
        assert lease_steps(desk.stores, AT_ONCE, SYSTEM) is not None
    assert asked == [None, BULK]


def test_time_left_decides_between_new_and_interrupted_batches(desk: Desk) -> None:
    old, urgent = desk.batch(age=900), desk.batch(age=5)
    desk.add(3, phase="erase", batch=old, days_left=25)
    desk.add(4, phase="locate", days_left=15)
    desk.add(3, phase="erase", batch=urgent, days_left=2, state="accepted")
    picked = desk.picked(AT_ONCE)
    assert isinstance(picked[1], FreshPick)
    assert [p.batch_id for p in picked if isinstance(p, AgainPick)] == [urgent]
    desk.write("UPDATE steps SET due_at = clock_timestamp() + interval '1 hour' WHERE batch_id = :id", id=urgent)
    later = desk.picked(AT_ONCE)
    # A batch that fails again and again is the oldest, and still comes after those with less time left.
    assert [type(p) for p in later] == [FreshPick, AgainPick]


def test_a_batch_that_somebody_holds_or_left_behind_is_not_taken(desk: Desk) -> None:
    held, left = desk.batch(lease=30), desk.batch(lease=-1)
    desk.add(2, phase="erase", batch=held)
    desk.add(2, phase="erase", batch=left)
    assert desk.picked(AT_ONCE) == [AgainPick(left, None)]
    desk.add(1, phase="erase", batch=left, state="leased")
    assert desk.picked(AT_ONCE) == []
    assert not desk.is_leasable(AT_ONCE)


def test_a_probe_takes_no_more_than_it_is_told(desk: Desk) -> None:
    desk.add(30)
    assert len(desk.first(AT_ONCE, at_most=1).step_ids) == 1


def test_the_age_of_what_waits_longest_is_told(desk: Desk) -> None:
    def age() -> float:
        with desk.engine.begin() as connection:
            return pick_steps.oldest_due_seconds(connection, SYSTEM)

    assert age() == 0
    desk.add(2, due_for=-60)
    assert age() == 0
    desk.add(3, due_for=100, days_left=30)
    desk.add(3, due_for=20, days_left=2)
    assert 100 <= age() < 200
    desk.add(1, phase="erase", batch=desk.batch(), due_for=400)
    assert 400 <= age() < 500


# --- what asking costs ------------------------------------------------------------------------------------------------


def read(desk: Desk, statement: TextClause, **values: Any) -> tuple[int, set[str]]:
    """How many rows of steps a statement reads, and by which ways."""
    with desk.engine.begin() as connection:
        asked = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        found = connection.execute(asked, {"s": SYSTEM, "phases": list(pick_steps._ORDER), **values}).scalar_one()
    plan = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
    rows, ways, nodes = 0, set(), [plan]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node.get("Relation Name") == "steps" and node["Actual Loops"]:
            rows += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            # The look for somebody of the same batch who is still leased (t) reads one batch, whichever way.
            ways |= set() if node["Alias"] == "t" else {f"{node['Node Type']} {node.get('Index Name', '')}".strip()}
    return rows, ways


def test_asking_costs_the_same_with_a_backlog_and_with_finished_work(desk: Desk) -> None:
    desk.add(4000, phase="confirm", state="absent")
    # Freshly analysed without one due row: then the planner takes the partial indexes for empty.
    desk.write("ANALYZE")
    for n, fair_queue in enumerate((DEFAULT_FAIR_QUEUE, BULK, OTHER_BULK)):
        desk.add(1000, fair_queue=fair_queue, days_left=5 + n)
        desk.add(1000, fair_queue=fair_queue, days_left=9 + n, due_for=-600)
        desk.add(1000, fair_queue=fair_queue, days_left=9 + n, phase="confirm", due_for=-600)
    for _ in range(10):
        desk.add(50, batch=desk.batch(), phase="erase")
        desk.add(20, batch=desk.batch(lease=60), phase="erase", state="leased")
        desk.add(50, batch=desk.batch(), phase="erase", due_for=-600)
    half = {"phases": ["locate"], "n": 20, "half": 10}
    for _ in ("with the statistics of an empty line", "with fresh ones"):
        heads, head_ways = read(desk, pick_steps._HEADS)
        people, people_ways = read(desk, pick_steps._OF_ALL_QUEUES, **half)
        # The groups, the first of each line, and the batch that is looked at for somebody who is still leased.
        assert heads <= 40 + 50
        assert people <= 3 * 20 + 20
        assert head_ways | people_ways <= {
            f"{kind} ix_steps_{name}" for kind in ("Index Scan", "Index Only Scan") for name in ("fresh", "again")
        }
        desk.write("ANALYZE")
