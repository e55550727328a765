"""The kit's stages on Zendesk: a failed job is no effect, and a record that the look still shows is erased again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.kit.progress import PersonProgress
from connectors.base.kit.stages import StagedErasure, StageState
from connectors.base.values import Answer, AnswerKind
from connectors.testing.sandbox.faults import Fault, FaultKind

from .conftest import MemoryLease, World, person

Patch = pytest.MonkeyPatch
ADA = person("ada", "ada@example.test")
ACCOUNT: dict[str, Any] = {
    "users": [{"id": 11, "email": "ada@example.test"}],
    "tickets": [{"id": 21, "requester_id": 11}],
    "suspended_tickets": [{"id": 31, "author": {"email": "ada@example.test"}}],
}


def _jobs_that_fail_later(world: World) -> None:
    """Every job is seen running once, and has failed as a whole by the next attempt."""
    world.reset(ACCOUNT, job_seconds=3600)
    people = world.plan(ADA)
    lease = MemoryLease()
    seen: list[object] = []
    for _ in range(2 * 3):
        answer = world.erase(*people, lease=lease)["ada"]
        seen.append(getattr(answer, "kind", type(answer)))
        for job in world.sandbox.state["jobs"].values():
            job["status"] = "failed"
    assert seen == [AnswerKind.ACCEPTED, TemporarilyUnavailable] * 2 + [AnswerKind.ACCEPTED, AnswerKind.PARTIAL]
    assert isinstance(answer, Answer)
    assert (answer.reason, [entry.id for entry in answer.left]) == ("refused_by_vendor", ["21"])
    assert not answer.records.get("ticket")


def _record_that_came_back(world: World) -> None:
    """The vendor says that the suspended ticket is gone; the next attempt's look shows it."""
    world.reset(ACCOUNT, job_seconds=3600)
    people = world.plan(ADA)
    world.sandbox.faults = [Fault(FaultKind.LIE, methods=("DELETE",), path="/suspended_tickets/destroy_many", times=1)]
    lease = MemoryLease()
    running = world.erase(*people, lease=lease)["ada"]
    assert isinstance(running, Answer)
    assert running.kind is AnswerKind.ACCEPTED
    assert any(record["id"] == 31 for record in world.sandbox.records())
    world.sandbox.options["job_seconds"] = 0
    world.sandbox.clock_offset = timedelta(hours=2)
    done = world.erase_to_end(*people, lease=lease)["ada"]
    assert done.kind is AnswerKind.ERASED
    assert done.records == {"user": 1, "ticket": 1, "suspended_ticket": 1}
    assert world.confirmed_absent(*people)


def _failed_job_counts_as_done(patch: Patch) -> None:
    settle = StagedErasure._settle

    def trusting(self: StagedErasure, *before: Any) -> None:
        *others, state = before
        settle(self, *others, StageState.DONE if state is StageState.FAILED else state)

    patch.setattr(StagedErasure, "_settle", trusting)


def _nothing_is_reopened(patch: Patch) -> None:
    patch.setattr(PersonProgress, "reopen", lambda self, present: None)


Scene = Callable[[World], None]


@pytest.mark.parametrize("scene", [_jobs_that_fail_later, _record_that_came_back])
def test_no_effect_is_taken_on_trust(world: World, scene: Scene) -> None:
    scene(world)


@pytest.mark.parametrize(
    ("mutate", "scene"),
    [(_failed_job_counts_as_done, _jobs_that_fail_later), (_nothing_is_reopened, _record_that_came_back)],
)
def test_a_rule_switched_off_is_noticed(
    world: World, mutate: Callable[[Patch], None], scene: Scene, monkeypatch: Patch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        scene(world)
