"""Processes stop in the middle of a call, or just after it, and go on after their lease went to somebody else."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Chaos, scaled
from tests.faults.harness import verdict
from tests.faults.harness.launch import STOPS

pytestmark = [pytest.mark.fault, pytest.mark.long]

_LEASE_SECONDS = 1.0
_KINDS = {"warehouse", "zendesk", "mailchimp", "salesforce", "jobs"}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("chaos", [{"lease_seconds": _LEASE_SECONDS}], indirect=True)
def test_every_pair_ends_rightly_although_leases_end_under_slow_calls(chaos: Chaos) -> None:
    for stand_in in chaos.company.sandboxes.values():
        stand_in.latency_seconds = 0.1
    stops = chaos.directory / "stops"
    stops.mkdir()
    with chaos.running(workers=2, **{STOPS: str(stops)}) as installation:

        def suspend() -> None:
            installation.suspend_a_pool_child(_LEASE_SECONDS * 2)
            installation.wake_stopped(stops)

        def over() -> bool:
            installation.wake_stopped(stops)
            return not verdict.unfinished(chaos.company)

        chaos.storm(installation, [suspend] * scaled(30, least=6))
        installation.wait_until(over, 2400)
        chaos.assert_ended(installation, 1)
        assert installation.woken == _KINDS
    late = chaos.company.rows("SELECT count(*) FROM attempts WHERE late")[0].count
    assert late > 0, "no answer came after its lease"
