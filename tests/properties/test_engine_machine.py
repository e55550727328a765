"""The engine under everything that may happen to it, in any order: a few runs here, thousands by hand.

`EXPUNGE_MACHINE_RUNS=2000 pytest -m long tests/properties/test_engine_machine.py` is the long run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.engine.machine import EngineMachine
from tests.properties.engine.world import World, opened

RUNS = int(os.environ.get("EXPUNGE_MACHINE_RUNS", "200"))
_PROFILE = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), stateful_step_count=50, print_blob=True
)


@pytest.fixture
def world(
    database_url: str, key_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    with opened(monkeypatch, database_url, key_database_url, tmp_path) as world:
        yield world


def run(world: World, profile: settings) -> None:
    """Run the machine in this world."""

    class Machine(EngineMachine):
        pass

    Machine.world = world
    run_state_machine_as_test(Machine, settings=profile)


def test_the_engine_keeps_its_promises(world: World) -> None:
    run(world, settings(_PROFILE, max_examples=8, derandomize=True, phases=(Phase.generate,)))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(2))
def test_the_engine_keeps_its_promises_in_many_runs(world: World, share: int) -> None:
    run(world, settings(_PROFILE, max_examples=RUNS // 2))
