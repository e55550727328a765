"""Killed at any call and gone on with in another process: nothing orphaned, nobody else touched, nothing told wrongly.

Once a root is gone nothing leads to what hung on it, so what a dead process knew must be in its token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.runner import Outcome
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.sandbox.faults import Fault, FaultKind

from ..connecting import serving
from ..gods_view import GodsView
from ..persevering import Perseverance
from ..world import World, hard_world, ordinary_world

_MOST_CALLS = 60
_KINDS = (FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.HALF_BODY)
_BY_JOBS: Mapping[str, Any] = {"permissions": {"bulk_hard_delete": True}, "job_seconds": 0.02}


def _is_killed(world: World, ref: str, kind: FaultKind, call: int, end: Outcome, *, by_jobs: bool = False) -> bool:
    """A process dies at that call of its erasure, another one goes on. False when there was no such call."""
    options, policy = (_BY_JOBS, {"bulk_from": 2}) if by_jobs else ({}, None)
    with serving(world, **options) as org:
        view = GodsView(org.sandbox, world.people[ref])
        batch = Perseverance(org, ref, policy).frozen()
        lease = SuiteLease(is_dead=lambda: any(c["fault"] for c in org.sandbox.journal))
        org.sandbox.journal.clear()
        # The call is cut, and the dead process makes no further one.
        org.sandbox.faults = [Fault(kind, skip=call), Fault(FaultKind.DROP_BEFORE, skip=call, times=None)]
        operations.erase(org.connect(policy), batch, lease)
        if not any(c["fault"] for c in org.sandbox.journal):
            return False
        org.sandbox.faults = []
        line = Perseverance(org, ref, policy, lease=SuiteLease(lease.resume_token)).through(batch)
        assert view.violations(line) == {}, f"{kind} at call {call}"
        assert line.outcome is end, f"{kind} at call {call}"
        return True


@pytest.mark.parametrize("call", [5, 7])
def test_killed_after_an_effect(call: int) -> None:
    assert _is_killed(ordinary_world(1), "p0", FaultKind.DROP_AFTER, call, Outcome.ERASED_VERIFIED)


@pytest.mark.long
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("by_jobs", [False, True])
def test_an_ordinary_person_at_every_call(kind: FaultKind, by_jobs: bool) -> None:
    for call in range(_MOST_CALLS):
        if not _is_killed(ordinary_world(1), "p0", kind, call, Outcome.ERASED_VERIFIED, by_jobs=by_jobs):
            assert call > 6, "the erasure has hardly a call: the case shows nothing"
            return
    raise AssertionError("more calls than were tried")


@pytest.mark.long
@pytest.mark.parametrize("kind", _KINDS)
def test_a_person_account_at_every_call(kind: FaultKind) -> None:
    world = hard_world(tasks=1)
    assert [_is_killed(world, "zoe", kind, call, Outcome.ERASED_VERIFIED) for call in range(6)] == [True] * 6
    for call in range(6, _MOST_CALLS):
        if not _is_killed(world, "zoe", kind, call, Outcome.ERASED_VERIFIED):
            return
    raise AssertionError("more calls than were tried")


@pytest.mark.long
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("by_jobs", [False, True])
def test_ada_at_every_call(kind: FaultKind, by_jobs: bool) -> None:
    for call in range(_MOST_CALLS):
        if not _is_killed(hard_world(tasks=3), "ada", kind, call, Outcome.RETAINED, by_jobs=by_jobs):
            return
    raise AssertionError("more calls than were tried")
