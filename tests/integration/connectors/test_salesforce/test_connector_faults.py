"""Every fault and every trouble that there is, each alone and all at once: in the end nothing of the person is left,
nobody else was touched, and what is told is what the ground truth shows.

A narrow sample runs with every test run; the sweeps by `make chaos`.
"""

from __future__ import annotations

from typing import Any

import pytest

from connectors.base.runner import Outcome

from .connecting import Served, serving
from .gods_view import GodsView
from .persevering import Perseverance
from .troubles import LASTING, PASSING, TIMEOUT_SECONDS, WIRE, Trouble, arrive, wire_faults
from .world import ordinary_world

_CALLS = 40  # more than a run makes
# An emptied bin that wasn't emptied clears itself after 15 days: here sooner, so that the wait for it has an end.
_LIES = {"lie": {"purge_after": 0.6}, "blind": {"purge_after": 0.6}}


def _through(org: Served, trouble: Trouble | None = None, **changes: Any) -> tuple[Perseverance, Any, dict[str, Any]]:
    """Person p0's run under whatever was switched on: the run, its line, and the violations."""
    view = GodsView(org.sandbox, org.world.people["p0"])
    run = Perseverance(org, "p0", dict(trouble.policy) if trouble else None, changes)
    line = run.through()
    return run, line, view.violations(line)


def _under_wire_faults(name: str, first: int, every: int) -> None:
    with serving(ordinary_world(2), **_LIES.get(name, {})) as org:
        org.sandbox.faults = wire_faults(name, first=first, every=every, calls=_CALLS)
        run, line, violations = _through(org, timeout_seconds=TIMEOUT_SECONDS if name == "stall" else None)
        assert every >= _CALLS or any(call["fault"] for call in org.sandbox.journal), "the fault never struck"
        assert violations == {}
        assert line.outcome is Outcome.ERASED_VERIFIED, [e.code for e in run.errors]


@pytest.mark.parametrize("name", ["drop_after", "lie", "blind"])
def test_a_fault_at_every_third_call(name: str) -> None:
    _under_wire_faults(name, first=1, every=3)


@pytest.mark.long
@pytest.mark.parametrize("name", WIRE)
@pytest.mark.parametrize("call", range(18))
def test_each_fault_at_each_call(name: str, call: int) -> None:
    _under_wire_faults(name, call, _CALLS)


@pytest.mark.long
@pytest.mark.parametrize("name", WIRE)
@pytest.mark.parametrize(("first", "every"), [(0, 2), (1, 3), (2, 5)])
def test_each_fault_again_and_again(name: str, first: int, every: int) -> None:
    _under_wire_faults(name, first, every)


@pytest.mark.parametrize("name", ["failing_jobs", "arrivals"])
def test_some_troubles_that_pass(name: str) -> None:
    _under_trouble(name)


@pytest.mark.long
@pytest.mark.parametrize("name", PASSING)
def test_each_trouble_that_passes(name: str) -> None:
    _under_trouble(name)


def _under_trouble(name: str) -> None:
    trouble = PASSING[name]
    with serving(ordinary_world(2), **trouble.options) as org:
        trouble.switch_on(org)
        _, line, violations = _through(org, trouble)
        assert violations == {}
        assert line.outcome is Outcome.ERASED_VERIFIED


@pytest.mark.parametrize(
    "name", [name if name == "locked" else pytest.param(name, marks=pytest.mark.long) for name in LASTING]
)
def test_what_lasts_is_named_and_nothing_else_is_left(name: str) -> None:
    trouble = LASTING[name]
    with serving(ordinary_world(2), **trouble.options) as org:
        trouble.switch_on(org)
        _, line, violations = _through(org, trouble)
        assert violations == {}
        assert line.outcome is Outcome.PARKED
        assert line.left


def test_what_the_bin_still_shows_is_not_counted_again() -> None:
    """Something new comes in, and what was erased before is still shown when that is worked on."""
    with serving(ordinary_world(1), confirm_after=0.4) as org:
        arrive(org)
        view = GodsView(org.sandbox, org.world.people["p0"])
        line = org.erase("p0", delays={"poll_every": 0.02, "confirm_after": 0.1}).lines["p0"]
        assert line.outcome is Outcome.ERASED_VERIFIED
        assert line.records["Lead"] == 2, "nothing new came in: the case shows nothing"
        assert view.violations(line) == {}


@pytest.mark.long
@pytest.mark.parametrize("turn", range(6))
def test_all_at_once(turn: int) -> None:
    """Every trouble that passes and every fault of the wire in one run, in another order each turn."""
    options: dict[str, Any] = {"purge_after": 1.0}
    policy: dict[str, Any] = {"bulk_from": 2 + turn % 3}
    for trouble in PASSING.values():
        options |= trouble.options
    with serving(ordinary_world(2), **options) as org:
        for trouble in PASSING.values():
            trouble.switch_on(org)
        names = [*list(WIRE)[turn:], *list(WIRE)[:turn]]
        org.sandbox.faults = [
            fault for n, name in enumerate(names) for fault in wire_faults(name, first=n, every=len(names), calls=60)
        ]
        view = GodsView(org.sandbox, org.world.people["p0"])
        run = Perseverance(org, "p0", policy, {"timeout_seconds": 1.0}, passes=300)
        line = run.through()
        violations = view.violations(line)
        assert violations == {}
        assert line.outcome is Outcome.ERASED_VERIFIED
        assert {call["fault"] for call in org.sandbox.journal} >= {spec["kind"].value for spec in WIRE.values()}
