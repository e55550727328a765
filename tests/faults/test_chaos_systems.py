"""Systems vanish while they are worked on, and workers' clocks are wrong by hours."""

from __future__ import annotations

import re

import pytest

from service.execution.systems.sync_config import sync_systems
from service.settings import load_settings
from tests.faults.conftest import Chaos
from tests.faults.harness import verdict
from tests.faults.harness.eight_systems import MAILING, SUPPORT, SYSTEMS
from tests.faults.harness.installation import Installation
from tests.faults.harness.launch import SKEW

pytestmark = [pytest.mark.fault, pytest.mark.long]


@pytest.mark.timeout(3000)
def test_a_system_that_vanishes_parks_its_pairs_and_goes_on_when_it_is_back(chaos: Chaos) -> None:
    gone = (SUPPORT[1], MAILING[1])
    origin = chaos.company.settings.origin
    assert origin is not None
    whole = origin.read_text()
    for stand_in in chaos.company.sandboxes.values():
        stand_in.latency_seconds = 0.3
    with chaos.running(workers=2) as installation:
        chaos.feed(len(chaos.waiting) // 2)
        # A request whose person wasn't found yet gets no step in a system that isn't there by then.
        begun = "SELECT count(DISTINCT request_id) FROM steps"
        everybody = len(chaos.requests)
        assert installation.wait_until(lambda: chaos.company.rows(begun)[0].count == everybody, 120)
        busy = "SELECT 1 FROM steps WHERE system = ANY(:gone) AND state = 'leased'"
        assert installation.wait_until(lambda: chaos.company.rows(busy, gone=list(gone)), 90)
        _reconfigure(chaos, installation, _without(whole, gone))
        unfinished = "SELECT count(*) FROM steps WHERE ended_at IS NULL AND {} AND system = ANY(:gone)"
        open_there = unfinished.format("state <> 'parked'")
        assert installation.wait_until(lambda: not chaos.company.rows(open_there, gone=list(gone))[0].count, 120)
        parked = chaos.company.rows("SELECT DISTINCT reason FROM steps WHERE state = 'parked'")
        assert [row.reason for row in parked] == ["system_removed"]
        others = (
            "SELECT count(*) FROM steps WHERE ended_at IS NULL AND system <> ALL(:gone) AND system <> 'identity-graph'"
        )
        assert installation.wait_until(lambda: not chaos.company.rows(others, gone=list(gone))[0].count, 300)
        pairs = chaos.company.rows("SELECT count(*) FROM steps")[0].count
        assert pairs == len(chaos.requests) * len(SYSTEMS)

        _reconfigure(chaos, installation, whole)
        chaos.feed()
        chaos.assert_ended(installation)


def _without(configuration: str, names: tuple[str, ...]) -> str:
    entries = configuration.split("[[systems]]")
    kept = [entry for entry in entries if not any(re.search(rf'^name = "{name}"$', entry, re.M) for name in names)]
    assert len(kept) == len(entries) - len(names)
    return "[[systems]]".join(kept)


def _reconfigure(chaos: Chaos, installation: Installation, configuration: str) -> None:
    """What an operator does: write the file, restart the service. Workers die in the middle of what they do."""
    origin = chaos.company.settings.origin
    assert origin is not None
    origin.write_text(configuration)
    sync_systems(chaos.company.stores, load_settings(origin))
    for name in (*installation.workers, "control", "sequencer"):
        installation.kill(name)


@pytest.mark.timeout(3000)
def test_every_pair_ends_rightly_although_clocks_are_wrong(chaos: Chaos) -> None:
    two_hours = str(2 * 3600)
    clocks = {"systems-0": {SKEW: two_hours}, "systems-1": {SKEW: f"-{two_hours}"}, "control": {SKEW: "600"}}
    with chaos.running(workers=2, per_process=clocks) as installation:
        while chaos.waiting:
            chaos.feed(20)
            assert installation.wait_until(installation.in_the_middle, 90), verdict.unfinished(chaos.company)
        chaos.assert_ended(installation)
        wrong = "SELECT count(*) FROM attempts WHERE started_at > now() OR ended_at > now() OR ended_at < started_at"
        assert chaos.company.rows(wrong)[0].count == 0
