"""How many calls a whole run needs, warm: the targets of issue 5, and that nothing is left for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from connectors.base.runner import Outcome

from .connecting import Served, serving
from .world import ORDINARY_MARKS, ordinary_world

TARGETS = {1: 15, 10: 16, 100: 26, 1_000: 55}


def _run(org: Served, people: int, place: Path) -> int:
    policy = {"cache_directory": str(place)}
    org.connect(policy).check_credentials()
    before = org.sandbox.snapshot(org.world.people)
    done = org.erase_with(org.connect(policy), *org.world.people, wait=600)
    assert Counter(line.outcome for line in done.lines.values()) == {Outcome.ERASED_VERIFIED: people}
    assert org.sandbox.residue(ORDINARY_MARKS) == []
    assert org.sandbox.changed_bystanders(before) == []
    return done.calls


@pytest.mark.parametrize("people", [1, 10])
def test_a_whole_run_keeps_to_the_target(people: int, tmp_path: Path) -> None:
    with serving(ordinary_world(people)) as org:
        assert _run(org, people, tmp_path / "cache") <= TARGETS[people]


@pytest.mark.long
def test_a_hundred_people_keep_to_the_target(tmp_path: Path) -> None:
    with serving(ordinary_world(100)) as org:
        assert _run(org, 100, tmp_path / "cache") <= TARGETS[100]


@pytest.mark.long
def test_a_thousand_people_keep_to_the_target(tmp_path: Path) -> None:
    with serving(ordinary_world(1_000), permissions={"bulk_hard_delete": True}) as org:
        assert _run(org, 1_000, tmp_path / "cache") <= TARGETS[1_000]
