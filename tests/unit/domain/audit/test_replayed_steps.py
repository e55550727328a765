"""Entries that list steps of their object, in a whole log and in a pruned one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.domain.audit.entry import AuditEntry, decode_entry
from service.domain.audit.replay import Difference, Replay, StoredObject, differences

REQUEST, STEP, OTHER = (f"6f1e2c5a-0000-4000-8000-00000000000{n}" for n in range(3))
AT = datetime(2026, 11, 22, tzinfo=UTC)


def entry(event: str, row: str, key: str, version: int, previous: str | None, **data: Any) -> AuditEntry:
    return AuditEntry(event, row, key, version, previous, AT, "worker", None, data)


SUBMITTED = entry(
    "request_submitted",
    "request",
    REQUEST,
    1,
    None,
    kind="erasure",
    regime="gdpr",
    respond_by="2026-12-22T00:00:00.000000Z",
    identifier_kinds=["email"],
    verified=1,
)
SETTLED = entry(
    "request_settled",
    "request",
    REQUEST,
    2,
    SUBMITTED.digest(),
    identifiers=1,
    excluded=0,
    doubts=[],
    steps=[STEP, OTHER],
    systems=["mail", "crm"],
)
RELEASED = entry("plan_released", "request", REQUEST, 3, SETTLED.digest(), steps=[STEP], phases=["erase"])
LEASED = entry("step_lease_expired", "step", STEP, 1, None, phase="erase", state="due", reason="lease_expired")
FROZEN = entry(
    "plan_frozen",
    "request",
    REQUEST,
    3,
    SETTLED.digest(),
    plan=1,
    plan_hash="ab" * 32,
    identifiers=1,
    records=1,
    systems=["mail", "crm"],
    needs_approval=[],
    suppressed=1,
    steps=[STEP],
    phases=["erase"],
)
WHOLE = (SUBMITTED, SETTLED, RELEASED)


def replayed(*entries: AuditEntry, is_pruned: bool = False) -> Replay:
    replay = Replay(is_pruned=is_pruned)
    for each in entries:
        replay.take(decode_entry(each.encode()), each.encode())
    return replay


def step(key: str, phase: str, version: int = 0, digest: str | None = None, **more: Any) -> StoredObject:
    fields = {"request": REQUEST, "system": "mail" if key == STEP else "crm", "phase": phase, "state": "due"}
    return StoredObject("step", key, fields | {"reason": None} | more, version, digest)


def of_steps(replay: Replay, *rows: StoredObject) -> tuple[list[Difference], int]:
    found, beyond = differences(replay, rows)
    return [difference for difference in found if difference.object == "step"], beyond


@pytest.mark.parametrize("begins", [RELEASED, FROZEN], ids=["with_the_approval", "with_the_plan"])
def test_steps_begin_and_go_on_with_their_requests_entries(begins: AuditEntry) -> None:
    replay = replayed(SUBMITTED, SETTLED, begins)
    assert of_steps(replay, step(STEP, "erase"), step(OTHER, "locate")) == ([], 0)
    (difference,), _ = of_steps(replay, step(STEP, "locate"), step(OTHER, "locate"))
    assert (difference.object_id, difference.field, difference.logged) == (STEP, "phase", "erase")


def test_a_step_without_search_waits_for_the_plan_at_once() -> None:
    unsearched = entry(
        "request_settled",
        "request",
        REQUEST,
        2,
        SUBMITTED.digest(),
        identifiers=1,
        excluded=0,
        doubts=[],
        steps=[STEP, OTHER],
        systems=["mail", "crm"],
        unsearched=["mail"],
    )
    waiting, due = step(STEP, "locate", state="waiting"), step(OTHER, "locate")
    assert of_steps(replayed(SUBMITTED, unsearched), waiting, due) == ([], 0)
    (difference,), _ = of_steps(replayed(SUBMITTED, unsearched), step(STEP, "locate"), due)
    assert (difference.object_id, difference.field, difference.logged) == (STEP, "state", "waiting")


def test_a_step_that_was_begun_has_no_entry_that_it_does_not_tell() -> None:
    rows = (step(STEP, "erase", 1, "ab" * 32), step(OTHER, "locate"))
    for is_pruned in (False, True):
        found, _ = of_steps(replayed(*WHOLE, is_pruned=is_pruned), *rows)
        assert {difference.field for difference in found} == {"version", "entry_hash"}


def test_a_step_that_no_entry_tells_of_is_found() -> None:
    stranger = step("6f1e2c5a-0000-4000-8000-000000000009", "locate")
    for is_pruned in (False, True):
        found, beyond = of_steps(
            replayed(*WHOLE, is_pruned=is_pruned), step(STEP, "erase"), step(OTHER, "locate"), stranger
        )
        assert [difference.field for difference in found] == ["row"]
        assert beyond == 0


def test_facts_of_a_pruned_beginning_are_not_compared() -> None:
    # Of the steps' beginning nothing is left; of one of them its plan's entry, and it may have had entries of its own.
    found, beyond = of_steps(
        replayed(RELEASED, is_pruned=True), step(STEP, "erase", 4, "ab" * 32), step(OTHER, "locate")
    )
    assert (found, beyond) == ([], 1)
    (difference,), _ = of_steps(replayed(RELEASED, is_pruned=True), step(STEP, "confirm"), step(OTHER, "locate"))
    assert difference.field == "phase"


def test_a_step_cannot_begin_twice() -> None:
    again = entry(
        "request_settled",
        "request",
        REQUEST,
        3,
        SETTLED.digest(),
        identifiers=1,
        excluded=0,
        doubts=[],
        steps=[STEP],
        systems=["mail"],
    )
    assert [(b.object, b.object_id, b.field) for b in replayed(SUBMITTED, SETTLED, again).breaks] == [
        ("step", STEP, "chain")
    ]
    assert replayed(SUBMITTED, SETTLED, LEASED).breaks == []
