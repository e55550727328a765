"""Vendors break in every way they can, and vendors lie: nothing is lost, and nothing is called done that isn't."""

from __future__ import annotations

import time
from collections import Counter
from uuid import uuid4

import pytest

from connectors.testing.sandbox.faults import Fault, FaultKind
from service.domain.access.api_key import Caller, Scope
from service.domain.execution.events import Decision, ResolutionReason
from service.execution.steps.resolve import resolve_step
from service.requests.planning.approve import approve_plan
from tests.faults.conftest import Chaos, scaled
from tests.faults.harness import verdict
from tests.faults.harness.eight_systems import CRM, JOBS, MAILING, SUPPORT, held_by
from tests.faults.harness.installation import Installation

pytestmark = [pytest.mark.fault, pytest.mark.long]

_TIMEOUT_SECONDS = 2.0
_STORM = (
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500, "retry_after": "1"},
    {"kind": "stall", "seconds": _TIMEOUT_SECONDS * 2},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "half_body"},
    {"kind": "html"},
    {"kind": "huge", "seconds": 11.0},
    {"kind": "redirect"},
)
# Many people travel in one of their calls: there are few calls.
_FEW_CALLS = {CRM: 3, JOBS: 2}


def resume_parked(chaos: Chaos, seen: Counter[str]) -> bool:
    """What a human does about parked steps when the cause is gone. True if there were any."""
    rows = chaos.company.rows("SELECT request_id, system, reason FROM steps WHERE state = 'parked'")
    for row in rows:
        seen[row.reason] += 1
        resolve_step(
            chaos.company.stores,
            row.request_id,
            row.system,
            decision=Decision.RETRY,
            reason=ResolutionReason.CAUSE_FIXED,
            actor="cli",
        )
    return bool(rows)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("chaos", [{"timeout_seconds": _TIMEOUT_SECONDS}], indirect=True)
def test_every_pair_ends_rightly_although_vendors_break(chaos: Chaos) -> None:
    rounds = scaled(4, least=1)
    for name, stand_in in chaos.company.sandboxes.items():
        every = _FEW_CALLS.get(name, 12)
        storm = [fault for _ in range(rounds) for fault in _STORM]
        stand_in.faults = [Fault(**fault, skip=every * n) for n, fault in enumerate(storm)]  # type: ignore[arg-type]
    seen: Counter[str] = Counter()

    def over() -> bool:
        return not resume_parked(chaos, seen) and not verdict.unfinished(chaos.company)

    with chaos.running(workers=2) as installation:
        while chaos.waiting:
            chaos.feed(20)
            installation.wait_until(lambda: resume_parked(chaos, seen), 2)
        installation.wait_until(over, 2400)
        chaos.assert_ended(installation, 1)
    happened = {
        name: Counter(call["fault"] for call in stand_in.journal if call["fault"])
        for name, stand_in in chaos.company.sandboxes.items()
    }
    for name, faults in happened.items():
        assert set(faults) == {fault["kind"] for fault in _STORM}, name
        assert faults.total() == rounds * len(_STORM), name
    # Nothing was tried again blindly that was not understood.
    assert {reason.split(":")[0] for reason in seen} == {"answer_not_understood"}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("chaos", [{"approval": {"always": True}, "people": 40}], indirect=True)
def test_a_lie_is_never_called_done(chaos: Chaos) -> None:
    lying = (*SUPPORT, *MAILING, CRM, JOBS)
    chaos.feed()
    with chaos.running(workers=2) as installation:
        frozen = "SELECT count(*) FROM requests WHERE reason = 'awaiting_approval'"
        assert installation.wait_until(lambda: chaos.company.rows(frozen)[0].count == len(chaos.requests), 300)
        _let_them_lie(chaos)
        _approve_all(chaos)
        _wait_until_nothing_more_happens(chaos, installation, lying)

        still_held = _held_now(chaos)
        # The warehouse is honest, and `wrongs` looks into it at the end.
        over = "SELECT request_id, system, state FROM steps WHERE ended_at IS NOT NULL AND system = ANY(:lying)"
        ended = chaos.company.rows(over, lying=list(lying))
        falsely = [(e.system, e.state) for e in ended if chaos.requests[e.request_id].ref in still_held[e.system]]
        assert Counter(falsely) == {}
        assert all(chaos.held[name] == still_held[name] for name in lying), "somebody did not lie"

        for stand_in in chaos.company.sandboxes.values():
            stand_in.faults = []
        _finish_jobs(chaos)
        seen: Counter[str] = Counter()
        resume_parked(chaos, seen)
        assert seen.total() > 0
        chaos.assert_ended(installation)


def _held_now(chaos: Chaos) -> dict[str, set[str]]:
    return held_by(chaos.company, list(chaos.requests.values()))


def _let_them_lie(chaos: Chaos) -> None:
    """Each system in a way of its own, from now on, to every call."""

    def for_ever(kind: FaultKind, *methods: str, **more: object) -> list[Fault]:
        return [Fault(kind, methods=methods, times=None, **more)]  # type: ignore[arg-type]

    sandboxes = chaos.company.sandboxes
    # 200, and nothing happened.
    sandboxes[SUPPORT[0]].faults = for_ever(FaultKind.LIE, "DELETE", "POST", "PUT")
    sandboxes[MAILING[0]].faults = for_ever(FaultKind.LIE, "DELETE", "POST")
    # A credential that is accepted and sees nothing.
    sandboxes[SUPPORT[1]].faults = for_ever(FaultKind.BLIND)
    sandboxes[CRM].faults = for_ever(FaultKind.BLIND)
    # 404 to whatever is asked.
    sandboxes[MAILING[1]].faults = for_ever(FaultKind.STATUS, status=404, body={"title": "Resource Not Found"})
    # 202 for ever.
    sandboxes[JOBS].options["job_seconds"] = 1e6


def _finish_jobs(chaos: Chaos) -> None:
    for job in chaos.company.sandboxes[JOBS].state["jobs"].values():
        job["done_at"] = "2026-01-01T00:00:00+00:00"
    chaos.company.sandboxes[JOBS].options["job_seconds"] = 0.1


def _approve_all(chaos: Chaos) -> None:
    for request in chaos.requests:
        plan = chaos.company.rows(
            "SELECT hash FROM plans WHERE request_id = :id ORDER BY version DESC LIMIT 1", id=request
        )[0]
        caller = Caller(uuid4(), frozenset(Scope))
        approve_plan(chaos.company.stores, chaos.company.settings, request, plan_hash=plan.hash, caller=caller)


def _wait_until_nothing_more_happens(chaos: Chaos, installation: Installation, lying: tuple[str, ...]) -> None:
    """Every step that was lied about has ended, is parked, or was told the same again and again."""
    statement = (
        "SELECT count(*) FROM steps WHERE system = ANY(:lying) AND ended_at IS NULL AND state <> 'parked'"
        " AND attempts < 8"
    )
    names = list(lying)
    quiet = installation.wait_until(lambda: not chaos.company.rows(statement, lying=names)[0].count, 300)
    assert quiet, verdict.unfinished(chaos.company)
    time.sleep(1)
