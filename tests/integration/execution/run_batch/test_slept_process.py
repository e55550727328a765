"""A process that sleeps between its lease and its first effect: whoever has the batch by then must be alone with it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from connectors.base.errors import LeaseLost
from service.execution import heartbeat
from service.execution.heartbeat import HeldLease, renew_lease
from service.execution.lease import lease_steps
from tests.company import Company
from tests.faults.test_lost_leases import to_phase


def test_a_lease_is_believed_from_when_it_was_asked_for(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    to_phase(company, "support", "erase")
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    length = company.settings.engine.lease_seconds
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + length))

    with HeldLease(company.stores, company.settings, leased) as lease, pytest.raises(LeaseLost):
        lease.may_proceed(leased.steps[0].ref)


def test_a_lease_that_is_fresh_is_believed(company: Company) -> None:
    to_phase(company, "support", "erase")
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None

    with HeldLease(company.stores, company.settings, leased) as lease:
        assert lease.may_proceed(leased.steps[0].ref)
    assert renew_lease(company.stores, company.settings, leased) == frozenset()
