"""Processes die and the broker forgets, in the middle of everything: every pair of person and system ends rightly."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Chaos, scaled

pytestmark = [pytest.mark.fault, pytest.mark.long]


@pytest.mark.timeout(3000)
def test_every_pair_ends_rightly_although_processes_die(chaos: Chaos) -> None:
    with chaos.running(workers=2) as installation:
        kinds = {
            installation.kill_workers: scaled(50),
            installation.kill_a_pool_child: scaled(50),
            installation.empty_broker: scaled(10),
            lambda: installation.kill("beat"): scaled(5),
            lambda: installation.kill("control"): scaled(5),
            lambda: installation.kill("sequencer"): scaled(5),
        }
        faults = [fault for fault, times in kinds.items() for _ in range(times)]
        installation.random.shuffle(faults)

        chaos.storm(installation, faults)

        assert installation.done == {
            "worker killed": scaled(50),
            "pool child killed": scaled(50),
            "broker emptied": scaled(10),
            "beat killed": scaled(5),
            "control killed": scaled(5),
            "sequencer killed": scaled(5),
        }
        chaos.assert_ended(installation)
