"""A legal hold and a withdrawal stop what has not happened yet, wherever the engine is; nothing is lost by it.

Each protection is switched off once, and then the same scenario must end badly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.base import operations
from connectors.testing.sandbox.sample_world import SamplePerson
from service.domain.execution.events import Decision, ResolutionReason
from service.domain.requests.holds import LiftReason
from service.domain.requests.states import DenialReason
from service.execution import decide_results as step_facts
from service.execution import heartbeat as hold_lease
from service.execution import lease as guard_lease
from service.execution.expire_leases import sweep_leases
from service.execution.lease import lease_steps
from service.execution.run_batch import execute_batch
from service.execution.steps.resolve import resolve_step
from service.requests.holds import place as place_hold
from service.requests.holds.lift import lift_hold
from service.requests.seal import seal_due_requests
from service.requests.withdraw import deny_request, revoke_request
from service.store.encryption.key_store import request_owner
from tests.audit_replay import differences
from tests.company import Company
from tests.scenes import effects, endings, hold, person_in, quicken, stop_before_erasing, turn_until, write


@pytest.fixture(autouse=True)
def replayed(company: Company) -> Iterator[None]:
    quicken(company)
    yield
    assert differences(company.stores.engine) == []


def lift(company: Company, hold_id: Any) -> None:
    lift_hold(company.stores, hold_id, reason=LiftReason.MATTER_CLOSED, actor="cli")


def held_in_support(company: Company) -> tuple[SamplePerson, Any]:
    """A request that was stopped right before erasing in `support`, and then its person was put under a hold."""
    person = person_in(company, "support")
    request = company.submit(person)
    stop_before_erasing(company, request, "support")
    hold(company, person)
    return person, request


def test_a_hold_from_before_the_request_lets_nothing_begin_until_it_is_lifted(company: Company) -> None:
    quicken(company, data_key_retention_seconds=0.0)
    person = person_in(company, "support", "mailing")
    placed = hold(company, person)
    before = company.residue(person)

    request = company.submit(person)
    company.drive()

    assert effects(company) == []
    assert company.residue(person) == before
    held = {name for name, ending in endings(company, request).items() if ending == ("parked", "legal_hold")}
    assert held >= {"support", "mailing", "warehouse", "identity-graph"}
    # Where nothing was found nothing is held back: a look is no effect. It waits for what may still feed that system.
    others = {step.phase for name, step in company.steps(request).items() if name not in held}
    assert others <= {"confirm"}
    assert company.request(request).state == "in_progress"

    lift(company, placed.id)
    company.drive()

    assert {e[0] for e in endings(company, request).values()} <= {"erased_verified", "absent"}
    assert company.residue(person) == []
    assert company.request(request).sealed_at is not None


def test_a_hold_between_freeze_and_erase_parks_what_is_due(company: Company) -> None:
    person, request = held_in_support(company)
    assert endings(company, request)["support"] == ("parked", "legal_hold")

    company.drive()

    assert effects(company, "support") == []
    with pytest.raises(Exception, match="lift it first"):
        resolve_step(
            company.stores,
            request,
            "support",
            decision=Decision.RETRY,
            reason=ResolutionReason.CAUSE_FIXED,
            actor="cli",
        )
    # What had ended before the hold stays as it is; retained is only what a human says is retained.
    expected = endings(company, request)
    for name, ending in list(expected.items()):
        if ending == ("parked", "legal_hold"):
            expected[name] = ("retained", "legal_hold")
            resolve_step(
                company.stores,
                request,
                name,
                decision=Decision.RETAINED,
                reason=ResolutionReason.LEGAL_HOLD,
                actor="cli",
            )
    company.drive()
    assert endings(company, request) == expected
    assert ("erased_verified", None) in expected.values()
    assert company.request(request).state == "fulfilled"
    assert any(r["object"] == "user" for r in company.sandboxes["support"].residue(set(person.residue_values)))


def test_the_lease_asks_again_for_what_the_hold_did_not_park(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_hold, "apply_event", lambda *given, **named: [])
    _, request = held_in_support(company)
    company.drive()
    assert endings(company, request)["support"] == ("parked", "legal_hold")
    assert effects(company, "support") == []


def test_without_any_of_the_hold_checks_a_held_person_is_erased(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_hold, "apply_event", lambda *given, **named: [])
    for module in (guard_lease, hold_lease, step_facts):
        monkeypatch.setattr(module, "held_requests", lambda connection, ids: set())
    person, _ = held_in_support(company)
    company.drive()
    assert company.sandboxes["support"].residue(set(person.residue_values)) == []


def erase_while(company: Company, monkeypatch: pytest.MonkeyPatch, happens: Any) -> tuple[SamplePerson, Any]:
    """The call to `support` has begun when `happens(person, request)` comes; the connector then goes on."""
    quicken(company, lease_seconds=0.6)
    person = person_in(company, "support")
    request = company.submit(person)
    stop_before_erasing(company, request, "support")
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    real = operations.erase

    def slowly(connector: Any, batch: Any, lease: Any) -> Any:
        happens(person, request)
        time.sleep(0.35)
        return real(connector, batch, lease)

    with monkeypatch.context() as patch:
        patch.setattr(operations, "erase", slowly)
        execute_batch(company.runtime, leased)
    return person, request


def test_a_hold_stops_an_erasure_that_runs(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    _, request = erase_while(company, monkeypatch, lambda person, request: hold(company, person))
    assert endings(company, request)["support"] == ("parked", "legal_hold")
    assert effects(company, "support") == []


def test_without_the_renewals_word_a_running_erasure_goes_on(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_lease, "held_requests", lambda connection, ids: set())
    erase_while(company, monkeypatch, lambda person, request: hold(company, person))
    assert effects(company, "support") != []


def test_a_revocation_stops_an_erasure_that_runs(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    person, request = erase_while(
        company, monkeypatch, lambda person, request: revoke_request(company.stores, request, actor="cli")
    )
    assert effects(company, "support") == []
    company.drive()
    assert endings(company, request)["support"] == ("retained", "withdrawn")
    assert company.sandboxes["support"].residue(set(person.residue_values)) != []


def test_a_held_person_is_not_sealed(company: Company) -> None:
    person = person_in(company, "support")
    request = company.submit(person)
    company.drive()
    assert company.request(request).next_action == "seal"
    placed = hold(company, person)
    evidence = endings(company, request)

    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE next_action = 'seal'")
    company.drive()

    assert company.request(request).sealed_at is None
    assert company.stores.keys.get([request_owner(request)])
    assert endings(company, request) == evidence
    lift(company, placed.id)
    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE next_action = 'seal'")
    assert seal_due_requests(company.stores) == 1
    assert company.stores.keys.get([request_owner(request)]) == {}


def test_a_request_denied_before_its_plan_asks_nobody_for_anything(company: Company) -> None:
    person = person_in(company, "support")
    request = company.submit(person)
    follower = company.submit(person)
    assert company.request(follower).duplicate_of == request
    turn_until(company, lambda: company.steps(request), only=lambda name: False)

    deny_request(company.stores, request, reason=DenialReason.SUSPECTED_FRAUD, actor="cli")

    assert set(endings(company, request).values()) == {("retained", "withdrawn")}
    freed = company.request(follower)
    assert (freed.state, freed.duplicate_of, freed.next_action) == ("open", None, "identify")
    company.drive()
    assert company.request(request).next_action == "seal"
    assert {s.attempts for s in company.steps(request).values()} == {0}
    # The freed request is carried out by itself, and its suppression entries are its own.
    assert company.residue(person) == []
    kept = company.rows("SELECT request_id, removed_at FROM suppression_entries")
    assert {(r.request_id, r.removed_at) for r in kept} == {(follower, None)}


def revoked_after_accepted(company: Company) -> tuple[SamplePerson, Any]:
    """The vendor has taken the first of several deletions as a job when the request is revoked."""
    person = next(p for p in company.world.ordinary if _has_tickets(company, p))
    request = company.submit(person)
    turn_until(company, lambda: (s := company.steps(request).get("support")) and s.state == "accepted")
    assert company.steps(request)["support"].phase == "erase"
    revoke_request(company.stores, request, actor="cli")
    company.drive()
    return person, request


def _has_tickets(company: Company, person: SamplePerson) -> bool:
    records = company.sandboxes["support"].residue(set(person.residue_values))
    users = {r["id"] for r in records if r["object"] == "user"}
    return any(r.get("requester_id") in users for r in company.sandboxes["support"].records())


def test_what_was_accepted_before_the_revocation_is_looked_at_and_nothing_more_begins(company: Company) -> None:
    person, request = revoked_after_accepted(company)
    begun = [path for method, path in effects(company, "support")]
    # The tickets' soft deletion was under way; neither their purge nor the user's deletion begins.
    assert begun == ["/api/v2/tickets/destroy_many"]
    assert company.sandboxes["support"].residue(set(person.residue_values)) != []
    ending = company.steps(request)["support"]
    assert (ending.state, ending.reason, ending.phase) == ("retained", "withdrawn", "confirm")
    assert ending.remaining
    assert {r.removed_at is None for r in company.rows("SELECT removed_at FROM suppression_entries")} == {False}
    assert company.request(request).next_action == "seal"


def test_without_the_guard_a_revoked_request_goes_on(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = guard_lease._stopped
    monkeypatch.setattr(guard_lease, "_stopped", lambda connection, steps: (set(), stopped(connection, steps)[1]))
    revoked_after_accepted(company)
    assert len(effects(company, "support")) > 1


def test_a_step_that_a_dead_worker_left_is_not_erased_after_a_denial(company: Company) -> None:
    request = company.submit(person_in(company, "support"))
    stop_before_erasing(company, request, "support")
    assert lease_steps(company.stores, company.settings, "support") is not None
    deny_request(company.stores, request, reason=DenialReason.OTHER, actor="cli")
    assert endings(company, request)["support"] == ("leased", None)
    write(company, "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE ended_at IS NULL")
    sweep_leases(company.stores)

    company.drive()

    assert effects(company, "support") == []
    # Nobody knows whether the dead worker had an effect, so a look had the last word.
    step = company.steps(request)["support"]
    assert (step.state, step.reason, step.phase) == ("retained", "withdrawn", "confirm")
