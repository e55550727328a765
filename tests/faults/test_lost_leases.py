"""What a dead, slow or late worker may not do: lose a step, write under a lost lease, act without a trace.

Each mechanism is switched off once, and then the same scenario must end badly: a test that can't fail proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from connectors.base import operations
from connectors.base.errors import LeaseLost
from service.execution import expire_leases as sweep_leases
from service.execution import heartbeat as hold_lease
from service.execution import lease as lease_steps
from service.execution import record as record_answers
from service.execution.heartbeat import HeldLease
from service.execution.lease import LeasedBatch
from service.execution.run_batch import execute_batch
from service.store.encryption.key_store import batch_owner
from tests.company import Company
from tests.drive import turn
from tests.scenes import write


class WorkerDied(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


def to_phase(company: Company, system: str, phase: str) -> UUID:
    """Submit a person who has records in `system`, and turn the engine until that step is due in `phase`."""
    person = next(p for p in company.world.ordinary if company.sandboxes[system].residue(set(p.residue_values)))
    request = company.submit(person)
    for _ in range(60):
        step = company.steps(request).get(system)
        if step is not None and (step.phase, step.state) == (phase, "due") and step.due_at <= datetime.now(UTC):
            return request
        turn(company.runtime, only=None if phase != "erase" else _all_but_erasing(company, system))
        time.sleep(0.02)
    raise AssertionError("the step did not come to its phase")


def _all_but_erasing(company: Company, system: str) -> Callable[[str], bool]:
    def may_work(name: str) -> bool:
        rows = company.rows("SELECT 1 FROM steps WHERE system = :s AND phase = 'erase'", s=name)
        return name != system or not rows

    return may_work


def lease(company: Company, system: str) -> LeasedBatch:
    leased = lease_steps.lease_steps(company.stores, company.settings, system)
    assert leased is not None
    return leased


def expire(company: Company, leased: LeasedBatch) -> None:
    """The lease's time passes, by the database's clock."""
    with company.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id"),
            {"id": leased.id},
        )


def die_in_call(company: Company, leased: LeasedBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is killed after the vendor acted and before anything was recorded."""
    real = operations.erase

    def act_and_die(*args: Any) -> Any:
        real(*args)
        raise WorkerDied

    with monkeypatch.context() as patch:
        patch.setattr(operations, "erase", act_and_die)
        with pytest.raises(WorkerDied):
            execute_batch(company.runtime, leased)


def test_a_dead_workers_step_ends_all_the_same(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request = to_phase(company, "support", "erase")
    leased = lease(company, "support")
    die_in_call(company, leased, monkeypatch)
    assert company.steps(request)["support"].state == "leased"

    expire(company, leased)
    company.drive()

    # The vendor acted, so "absent" would be a lie about who did it.
    assert company.steps(request)["support"].state == "erased_verified"


def test_without_the_sweeper_the_step_is_lost(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.drive.sweep_leases", lambda stores: 0)
    request = to_phase(company, "support", "erase")
    leased = lease(company, "support")
    die_in_call(company, leased, monkeypatch)
    expire(company, leased)

    company.drive()

    assert company.steps(request)["support"].state == "leased"


def test_without_lease_expiry_the_step_is_lost(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request = to_phase(company, "support", "erase")
    endless = company.settings.engine.model_copy(update={"lease_seconds": 1e8})
    monkeypatch.setattr(company.runtime, "settings", _with_engine(company, endless))
    leased = lease_steps.lease_steps(company.stores, company.runtime.settings, "support")
    assert leased is not None
    die_in_call(company, leased, monkeypatch)

    company.drive()

    assert company.steps(request)["support"].state == "leased"


def _with_engine(company: Company, engine: Any) -> Any:
    return replace(company.settings, engine=engine)


def late_answer(company: Company, monkeypatch: pytest.MonkeyPatch) -> tuple[UUID, Any, Any]:
    """One worker's lease ends while it is in the call; another takes over; then the first comes back with its answer.

    Returns the request, and the step before and after the late answer was recorded.
    """
    request = to_phase(company, "support", "erase")
    slow = lease(company, "support")
    held = HeldLease(company.stores, company.settings, slow)
    answers = dict(operations.erase(company.runtime.connector("support"), slow.batch, held))
    expire(company, slow)
    sweep_leases.sweep_leases(company.stores)
    other = lease(company, "support")
    assert other.id == slow.id
    assert other.fence > slow.fence
    before = company.steps(request)["support"]
    record_answers.record_answers(company.stores, company.settings, slow, answers, {})
    return request, before, company.steps(request)["support"]


def test_a_late_answer_changes_no_state_but_is_kept(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request, before, after = late_answer(company, monkeypatch)

    assert (after.state, after.phase) == (before.state, before.phase) == ("leased", "erase")
    attempts = company.rows("SELECT * FROM attempts WHERE step_id = :s ORDER BY number", s=after.id)
    late = [a for a in attempts if a.late]
    assert len(late) == 1
    assert late[0].answer in ("erased", "accepted", "already_absent", "partial")
    logged = company.rows("SELECT convert_from(entry, 'UTF8') AS entry FROM audit_pending")
    assert sum("step_answered_late" in row.entry for row in logged) == 1
    assert request


def test_without_the_fence_a_late_answer_wins(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_answers._Recording, "holds_fence", lambda self: True)

    _, before, after = late_answer(company, monkeypatch)

    assert (after.state, after.phase) != (before.state, before.phase)


def test_the_attempt_is_written_before_the_call(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request = to_phase(company, "support", "erase")
    leased = lease(company, "support")
    die_in_call(company, leased, monkeypatch)

    step = company.steps(request)["support"]
    attempts = company.rows("SELECT * FROM attempts WHERE step_id = :s AND phase = 'erase'", s=step.id)

    assert [a.answer for a in attempts] == [None]


def test_an_attempt_written_after_the_call_leaves_no_trace(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request = to_phase(company, "support", "erase")
    with monkeypatch.context() as patch:
        patch.setattr(lease_steps, "begin_attempts", lambda *args: None)
        leased = lease(company, "support")
    die_in_call(company, leased, monkeypatch)

    step = company.steps(request)["support"]

    assert company.rows("SELECT * FROM attempts WHERE step_id = :s AND phase = 'erase'", s=step.id) == []


def test_a_swept_batch_can_neither_renew_nor_save(company: Company) -> None:
    to_phase(company, "support", "erase")
    leased = lease(company, "support")
    expire(company, leased)
    sweep_leases.sweep_leases(company.stores)

    with pytest.raises(LeaseLost):
        hold_lease.renew_lease(company.stores, company.settings, leased)
    with pytest.raises(LeaseLost):
        hold_lease.save_resume_token(company.stores, leased, b"token")


def test_a_token_that_comes_after_the_batch_ended_leaves_no_key(company: Company) -> None:
    to_phase(company, "support", "erase")
    leased = lease(company, "support")
    write(company, "UPDATE batches SET ended_at = clock_timestamp() WHERE id = :id", id=leased.id)

    with pytest.raises(LeaseLost):
        hold_lease.save_resume_token(company.stores, leased, b"token")

    assert company.stores.keys.get([batch_owner(leased.id)]) == {}


def test_a_token_that_comes_late_leaves_the_key_of_a_batch_that_goes_on(company: Company) -> None:
    to_phase(company, "support", "erase")
    leased = lease(company, "support")
    hold_lease.save_resume_token(company.stores, leased, b"token")
    expire(company, leased)

    with pytest.raises(LeaseLost):
        hold_lease.save_resume_token(company.stores, leased, b"late")

    assert len(company.stores.keys.get([batch_owner(leased.id)])) == 1


def test_a_retry_has_the_same_key_and_the_saved_token(company: Company) -> None:
    to_phase(company, "support", "erase")
    first = lease(company, "support")
    hold_lease.save_resume_token(company.stores, first, b"ids found: 1, 2")
    expire(company, first)
    sweep_leases.sweep_leases(company.stores)

    again = lease(company, "support")

    assert again.batch.key == first.batch.key
    assert again.resume_token == b"ids found: 1, 2"
