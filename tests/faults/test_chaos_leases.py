"""Processes stop in the middle of a call and go on after their lease went to somebody else."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Chaos, scaled

pytestmark = [pytest.mark.fault, pytest.mark.long]

_LEASE_SECONDS = 1.0


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("chaos", [{"lease_seconds": _LEASE_SECONDS}], indirect=True)
def test_every_pair_ends_rightly_although_leases_end_under_slow_calls(chaos: Chaos) -> None:
    for stand_in in chaos.company.sandboxes.values():
        stand_in.latency_seconds = 0.1
    with chaos.running(workers=2) as installation:
        faults = [lambda: installation.suspend_a_pool_child(_LEASE_SECONDS * 2)] * scaled(30, least=6)
        chaos.storm(installation, faults)
        chaos.assert_ended(installation)
    late = chaos.company.rows("SELECT count(*) FROM attempts WHERE late")[0].count
    swept = chaos.company.rows("SELECT count(*) FROM attempts WHERE ended_at IS NULL")[0].count
    lost = sum(log.read_text().count('"lease_lost"') for log in installation.logs.iterdir())
    assert late + lost > 0, "no lease ended under a call"
    assert swept + late > 0
