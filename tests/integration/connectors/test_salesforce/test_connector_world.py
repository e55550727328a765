"""The connector in the hard world: nothing of the person is left, nobody else is touched, in few calls."""

from __future__ import annotations

import pytest

from connectors.base.runner import Outcome

from .connecting import serving
from .world import hard_world, residue

pytestmark = pytest.mark.long


def test_ada_with_2100_tasks_is_gone_and_nobody_else_is_touched() -> None:
    world = hard_world()
    with serving(world) as org:
        before = org.sandbox.snapshot({"ada"})
        done = org.erase("ada")
        line = done.lines["ada"]
        assert line.outcome is Outcome.RETAINED
        kept = {(e.object, e.id) for e in line.left}
        assert {i for _, i in kept} == {
            org.sandbox.state["refs"][ref] for ref in ("ada-order", "ada-contract", "ada-service", "ada-user")
        }
        assert residue(org.sandbox, world.people["ada"]) == []
        assert org.sandbox.changed_bystanders(before) == []
        assert line.records["Task"] >= 2_100


def test_a_person_account_goes_with_its_contact() -> None:
    world = hard_world(tasks=2)
    with serving(world) as org:
        before = org.sandbox.snapshot({"zoe"})
        assert org.erase("zoe").lines["zoe"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, world.people["zoe"]) == []
        assert org.sandbox.changed_bystanders(before) == []
