"""A scrape counts what is unfinished, rightly. Neither it nor a callback reads what has ended, whatever the planner was
told last."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import text

from connectors.base.callbacks import Callback
from connectors.base.transitions.states import ENDED, StepState
from service.execution import callbacks as hear_callback
from service.monitoring import work_counts as count_work
from service.store.encryption.keyed_hash import Pepper
from service.store.stores import Stores
from tests.integration.execution.select.rows import SYSTEM, Desk, settings_with
from tests.integration.statements_said import statements_said

UNFINISHED = {StepState.DUE, StepState.WAITING, StepState.LEASED, StepState.ACCEPTED, StepState.PARKED}
WORK = {"steps", "requests"}


def read_rows(desk: Desk, ask: Callable[[], object]) -> tuple[dict[str, int], set[str]]:
    """How many rows of steps and requests are read by asking this, and which of them table by table."""
    with statements_said() as said:
        ask()
    rows, whole = dict.fromkeys(WORK, 0), set()
    with desk.engine.begin() as connection:
        for statement, parameters in said:
            if statement.startswith("SET"):
                connection.execute(text(statement))
                continue
            asked = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            found = connection.exec_driver_sql(asked, parameters).scalar_one()
            nodes = [(found if isinstance(found, list) else json.loads(found))[0]["Plan"]]
            while nodes:
                node = nodes.pop()
                nodes += node.get("Plans", [])
                if node.get("Relation Name") in WORK and node["Actual Loops"]:
                    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                    rows[node["Relation Name"]] += int(node["Actual Loops"] * read)
                    whole |= {node["Relation Name"]} if node["Node Type"] == "Seq Scan" else set()
    return rows, whole


def fill(desk: Desk) -> None:
    """Seven unfinished steps, of seven requests."""
    desk.add(2, state="waiting")
    desk.add(1, state="parked")
    desk.add(1)
    desk.add(1, batch=desk.batch(), phase="erase", due_for=-600, state="accepted")
    desk.add(1, batch=desk.batch(lease=60), phase="erase", state="leased")
    desk.add(1, days_left=-1)


def finish(desk: Desk) -> None:
    """Every step that could be worked on now has ended."""
    over = "state = 'absent', ended_at = now(), due_at = NULL, batch_id = NULL"
    desk.write(f"UPDATE steps SET {over} WHERE state IN ('due', 'accepted')")
    ended = "SELECT request_id FROM steps WHERE state = 'absent'"
    desk.write(f"UPDATE requests SET state = 'fulfilled' WHERE id IN ({ended})")


def test_what_is_unfinished_is_counted_and_only_that(desk: Desk) -> None:
    desk.add(5)
    finish(desk)
    fill(desk)
    desk.write("UPDATE requests SET overdue_at = now() WHERE respond_by < now()")

    counts = count_work.count_work(desk.stores)

    assert counts.steps == {
        (SYSTEM, "waiting"): 2,
        (SYSTEM, "parked"): 1,
        (SYSTEM, "due"): 2,
        (SYSTEM, "accepted"): 1,
        (SYSTEM, "leased"): 1,
    }
    assert {state for _, state in counts.steps} == UNFINISHED == set(StepState) - ENDED
    assert counts.requests == {("in_progress", ""): 7}
    assert counts.overdue == 1
    desk.write("UPDATE requests SET overdue_at = NULL")
    assert count_work.count_work(desk.stores).overdue == 1


@pytest.mark.parametrize("yesterday", ["due", "accepted"])
def test_finished_work_costs_a_scrape_and_a_callback_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, yesterday: str
) -> None:
    stores = cast("Stores", SimpleNamespace(engine=desk.engine, pepper=Pepper(b"pepper")))
    calls = {"named": Callback.of(["job-1"]), "any": Callback.of_any_job()}
    asked: dict[str, Callable[[], object]] = {
        name: lambda call=call: hear_callback._look_sooner(stores, settings_with(), SYSTEM, call)  # type: ignore[misc]
        for name, call in calls.items()
    }
    asked["scrape"] = lambda: count_work.count_work(desk.stores)
    # Tests share a database: what others left in its files would count among what the planner expects to read.
    with desk.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL steps, requests"))
    # Analysed while all of it was unfinished, and finished since: what an import looks like on the day after.
    desk.add(3000, state=yesterday, due_for=-600)
    desk.write("ANALYZE")
    finish(desk)
    fill(desk)
    with monkeypatch.context() as patch:
        # Without a word to the planner a scrape would read everything now.
        patch.setattr(count_work, "disable_seqscan", lambda connection: None)
        assert read_rows(desk, asked["scrape"])[1] == WORK
    for _ in ("with yesterday's statistics", "with fresh ones"):
        for name, ask in asked.items():
            rows, whole = read_rows(desk, ask)
            assert whole == set(), name
            assert max(rows.values()) <= 7 * 5, name
        desk.write("ANALYZE")
