"""The chaos runs with a mechanism switched off: the verdict must see it, or it would prove nothing."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Chaos
from tests.faults.harness import verdict
from tests.faults.harness.eight_systems import JOBS, SUPPORT
from tests.faults.harness.installation import Installation
from tests.faults.harness.launch import MUTANT, STOPS

pytestmark = [pytest.mark.fault, pytest.mark.long]

_FEW = {"people": 16, "lease_seconds": 1.0}
_SYSTEM_IS_CALLED = "SELECT 1 FROM steps WHERE state = 'leased' AND phase LIKE :phase AND system <> 'warehouse'"


@pytest.fixture
def slow(chaos: Chaos) -> Chaos:
    """The vendors take their time, so that a fault surely comes in the middle of a call."""
    for stand_in in chaos.company.sandboxes.values():
        stand_in.latency_seconds = 0.3
    chaos.feed()
    return chaos


def wait_for(installation: Installation, phase: str) -> None:
    """Until a system is being spoken to in that phase."""
    assert installation.wait_until(lambda: installation.company.rows(_SYSTEM_IS_CALLED, phase=phase), 120)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("chaos", [_FEW], indirect=True)
@pytest.mark.parametrize("mutant", ["no_sweeper", "endless_leases"])
def test_without_it_what_a_dead_worker_held_is_lost(slow: Chaos, mutant: str) -> None:
    with slow.running(workers=1, **{MUTANT: mutant}) as installation:
        wait_for(installation, "locate")
        installation.kill_workers()
        held = {row.id for row in slow.company.rows("SELECT id FROM steps WHERE state = 'leased'")}
        ended = installation.wait_until(lambda: not verdict.unfinished(slow.company), 30)
    assert not ended
    assert held & {row.id for row in slow.company.rows("SELECT id FROM steps WHERE state = 'leased'")}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("chaos", [_FEW], indirect=True)
def test_without_the_fence_a_late_answer_counts(slow: Chaos) -> None:
    stops = slow.directory / "stops"
    stops.mkdir()
    with slow.running(workers=2, **{MUTANT: "no_fence", STOPS: str(stops)}) as installation:

        def seen() -> list[str]:
            installation.wake_stopped(stops, seconds=20)
            return _about(slow, "another lease")

        assert installation.wait_until(seen, 150)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("chaos", [_FEW], indirect=True)
def test_with_the_attempt_written_after_the_call_a_death_leaves_no_trace(slow: Chaos) -> None:
    with slow.running(workers=1, **{MUTANT: "attempt_after_the_call"}) as installation:
        wait_for(installation, "locate")
        installation.kill_workers()
        swept = "SELECT 1 FROM steps WHERE reason = 'lease_expired'"
        assert installation.wait_until(lambda: slow.company.rows(swept), 60)
    assert _about(slow, "no attempt")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("chaos", [_FEW], indirect=True)
def test_with_the_token_forgotten_a_second_job_is_opened(slow: Chaos) -> None:
    slow.company.sandboxes[JOBS].options["job_seconds"] = 3.0
    with slow.running(workers=1, **{MUTANT: "token_forgotten"}) as installation:
        installation.wait_until(lambda: _about(slow, "jobs for one order"), 120)
    assert _about(slow, "jobs for one order")


_LIMIT = {"calls": 20, "per_seconds": 4}
# A call is permitted when it is sent. On a computer that is busy one may arrive later than those that came after it.
_ON_THE_WAY_SECONDS = 0.4


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chaos", [{"people": 16, "rate_limits": [_LIMIT]}], indirect=True)
@pytest.mark.parametrize("mutant", [None, "no_rate_gate"])
def test_only_without_the_rate_gate_a_vendor_is_called_too_often(chaos: Chaos, mutant: str | None) -> None:
    chaos.feed()
    faults = {} if mutant is None else {MUTANT: mutant}
    with chaos.running(workers=2, **faults) as installation:
        chaos.assert_ended(installation, 400)
    seconds = _LIMIT["per_seconds"] - _ON_THE_WAY_SECONDS
    most = {name: verdict.most_calls(chaos.company, name, seconds) for name in SUPPORT}
    assert all(calls <= _LIMIT["calls"] for calls in most.values()) == (mutant is None), most


def _about(chaos: Chaos, what: str) -> list[str]:
    """What the verdict says, of the checks that can be made in the middle of a run."""
    return [wrong for wrong in (*verdict.attempts(chaos.company), *verdict.jobs(chaos.company)) if what in wrong]
