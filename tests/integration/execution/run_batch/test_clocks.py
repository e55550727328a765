"""A worker whose own clock is wrong: when something is due is told by the database's clock all the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.values import Answer, Batch
from service.execution import database_clock
from service.execution.lease import lease_steps
from service.execution.run_batch import execute_batch
from tests.company import Company
from tests.scenes import person_in, stop_before_erasing

_OFF = timedelta(hours=2)


def be_ahead(patch: pytest.MonkeyPatch) -> None:
    """This process believes that it is two hours later."""
    patch.setattr(database_clock, "own_clock", lambda: datetime.now(UTC) + _OFF)


def due_in(company: Company, patch: pytest.MonkeyPatch) -> timedelta:
    """Have the vendor tell a process that is ahead to look again in a second, and see when that is."""
    request = company.submit(person_in(company, "support"))
    stop_before_erasing(company, request, "support")
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None

    def later(connector: Any, batch: Batch, lease: Any) -> Mapping[str, Answer]:
        at = database_clock.own_clock() + timedelta(seconds=1)
        return {s.ref: Answer.accepted(at, resumes=True) for s in batch.subjects}

    be_ahead(patch)
    patch.setattr(operations, "erase", later)
    execute_batch(company.runtime, leased)
    step = company.steps(request)["support"]
    assert (step.state, step.phase) == ("accepted", "erase")
    now: datetime = company.rows("SELECT clock_timestamp() AS at")[0].at
    found: timedelta = step.due_at - now
    return found


def test_a_job_is_looked_at_when_the_vendor_said(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    assert due_in(company, monkeypatch) < timedelta(minutes=1)


def test_without_the_correction_it_is_looked_at_hours_later(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_clock.DatabaseClock, "corrected", lambda self, instant: instant)

    assert due_in(company, monkeypatch) > timedelta(hours=1)


def test_the_clock_of_the_process_is_not_asked_for_the_time(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    be_ahead(monkeypatch)
    asked: datetime = company.rows("SELECT clock_timestamp() AS at")[0].at

    assert abs(company.runtime.clock.now() - asked) < timedelta(minutes=1)
    assert abs(company.runtime.clock.corrected(asked + _OFF) - asked) < timedelta(minutes=1)
