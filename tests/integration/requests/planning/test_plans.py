"""What a plan holds and who approved it: doubtful records, finds after the freeze, the blast radius."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from connectors.base import operations
from connectors.base.transitions.states import Phase
from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_world import SamplePerson
from service.domain.errors import SamePerson, StalePlan
from service.domain.execution.events import Decision, ResolutionReason
from service.execution import decide_results
from service.execution import lease as guard_lease
from service.execution import lease as lease_steps
from service.execution import record as record_answers
from service.execution.run_batch import execute_batch
from service.execution.steps.resolve import resolve_step
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.requests.planning.approve import approve_plan
from service.requests.withdraw import revoke_request
from tests.company import Company
from tests.drive import turn
from tests.scenes import (
    caller,
    decide,
    effects,
    endings,
    is_due_in,
    person_in,
    quicken,
    stop_before_erasing,
    turn_until,
    write,
)

pytestmark = pytest.mark.usefixtures("replayed")

DOUBT = ("parked", "ambiguous:foreign_identifier")


def resolve(company: Company, request: UUID, system: str, decision: Decision) -> None:
    reason = ResolutionReason.CHECKED_BY_HAND
    resolve_step(company.stores, request, system, decision=decision, reason=reason, actor="cli")


def plans(company: Company, request: UUID) -> list[Any]:
    return company.rows("SELECT * FROM plans WHERE request_id = :id ORDER BY version", id=request)


def approve(company: Company, request: UUID) -> None:
    newest = plans(company, request)[-1]
    approve_plan(company.stores, company.settings, request, plan_hash=newest.hash, caller=caller())


def late_user(company: Company, person: SamplePerson, tickets: int = 0) -> None:
    """The person writes to support once more, from an address that the plan knows."""
    user = {"name": "Late", "email": person.emails[-1].upper()}
    ticket = {"subject": "Late", "requester": user["email"], "status": "closed"}
    company.sandboxes["support"].seed({"users": [user], "tickets": [ticket] * tickets})


def late_users(company: Company) -> list[dict[str, Any]]:
    return [r for r in company.sandboxes["support"].records() if r.get("name") == "Late"]


def test_a_doubtful_record_goes_to_a_human_and_the_others_go_on(company: Company) -> None:
    quicken(company)
    stranger, accepted, kept, other = (person_in(company, "support-eu", skip=n) for n in range(4))
    for person in (accepted, kept):
        user = {"name": f"Shared {person.ref}", "email": person.emails[-1], "emails": [stranger.emails[1]]}
        company.sandboxes["support"].seed({"users": [user]})
    shared = [r for r in company.sandboxes["support"].records() if str(r.get("name")).startswith("Shared")]
    requests = {p: company.submit(p) for p in (accepted, kept, other)}
    company.drive()

    assert endings(company, requests[accepted])["support"] == endings(company, requests[kept])["support"] == DOUBT
    assert company.request(requests[other]).state == "fulfilled", "neighbours of the same batch go on"
    assert [r for r in company.sandboxes["support"].records() if r in shared] == shared
    resolve(company, requests[accepted], "support", Decision.ACCEPT_RECORDS)
    resolve(company, requests[kept], "support", Decision.RETAINED)
    company.drive()

    assert endings(company, requests[accepted])["support"] == ("erased_verified", None)
    assert company.residue(accepted) == []
    assert endings(company, requests[kept])["support"] == ("retained", "checked_by_hand")
    assert company.sandboxes["support"].residue({kept.emails[-1]}) != []
    assert company.sandboxes["support-eu"].residue(set(stranger.residue_values)) != []
    # The human's word was for what that search found, not for whatever comes later.
    assert company.steps(requests[accepted])["support"].records_accepted is False


def claimed_victim(company: Company) -> UUID:
    """Somebody adds another one's address to their request, unproven; one record in support carries both."""
    person, victim = person_in(company, "support-eu"), person_in(company, "mailing", skip=5)
    user = {"name": "Both", "email": person.emails[-1], "emails": [victim.emails[-1]]}
    company.sandboxes["support"].seed({"users": [user]})
    at = datetime.now(UTC)
    identifiers = (
        SubmittedIdentifier(Identifier("email", person.emails[0]), "email_link", at),
        SubmittedIdentifier(Identifier("email", victim.emails[-1]), None, None),
    )
    submission = Submission("erasure", "gdpr", identifiers, at, None, caller().key_id, None)
    request = UUID(submit_request(company.stores, company.settings, submission).id)
    company.drive()
    if company.request(request).reason == "needs_review":
        decide(company, request, victim.emails[-1].lower())
        company.drive()
    return request


def test_what_was_only_claimed_explains_no_record(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(company)
    request = claimed_victim(company)
    assert endings(company, request)["support"] == DOUBT
    assert any(r.get("name") == "Both" for r in company.sandboxes["support"].records())


def test_without_that_rule_the_others_record_is_erased(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_steps, "_is_known", lambda stored: True)
    quicken(company)
    claimed_victim(company)
    assert not any(r.get("name") == "Both" for r in company.sandboxes["support"].records())


def test_a_late_find_is_a_new_version_approved_anew(company: Company) -> None:
    person = person_in(company, "support")
    quicken(company, approval={"max_records_per_system": 12})
    request = company.submit(person)
    stop_before_erasing(company, request, "support")
    assert len(plans(company, request)) == 1
    assert plans(company, request)[0].approval_reasons == []
    late_user(company, person, tickets=20)
    company.drive()

    first, second = plans(company, request)
    assert second.approval_reasons == ["too_many_records_in_a_system"]
    assert second.hash != first.hash
    assert company.request(request).reason == "awaiting_approval"
    assert company.steps(request)["support"].state == "waiting"
    assert len(late_users(company)) == 1, "nothing new is touched before the second approval"
    approve(company, request)
    company.drive()

    assert company.residue(person) == []
    assert company.request(request).state == "fulfilled"
    assert endings(company, request)["support"] == ("erased_verified", None)


def test_finds_without_end_end_with_a_human(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(company, max_plan_rounds=2)
    person = person_in(company, "support")
    real = operations.erase

    def erase_and_see_another(connector: Any, batch: Any, lease: Any) -> Any:
        answers = real(connector, batch, lease)
        if connector.system.name == "support" and any(getattr(a, "records", None) for a in answers.values()):
            late_user(company, person)
        return answers

    monkeypatch.setattr(operations, "erase", erase_and_see_another)
    request = company.submit(person)
    company.drive()
    assert endings(company, request)["support"] == ("parked", "found_again")
    assert [p.version for p in plans(company, request)] == [1, 2, 3]


def test_nothing_begins_before_another_person_approved_this_very_plan(company: Company) -> None:
    quicken(company, approval={"always": True})
    person = person_in(company, "support", "mailing")
    submitter = caller()
    request = company.submit(person, submitted_by=submitter.key_id)
    company.drive()
    assert company.request(request).reason == "awaiting_approval"
    before = company.residue(person)
    newest = plans(company, request)[-1].hash
    with pytest.raises(SamePerson):
        approve_plan(company.stores, company.settings, request, plan_hash=newest, caller=submitter)
    with pytest.raises(StalePlan):
        approve_plan(company.stores, company.settings, request, plan_hash="ab" * 32, caller=caller())
    # However a step came to be due: the lease asks whether its plan was approved.
    write(
        company,
        "UPDATE steps SET state = 'due', phase = 'erase', due_at = clock_timestamp() WHERE request_id = :id",
        id=request,
    )
    company.drive()
    assert effects(company) == []
    assert company.residue(person) == before
    assert {s for s, _ in endings(company, request).values()} == {"waiting"}
    approve(company, request)
    company.drive()
    assert company.residue(person) == []
    assert company.request(request).state == "fulfilled"


def test_without_the_leases_question_an_unapproved_plan_begins(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = guard_lease._stopped
    monkeypatch.setattr(guard_lease, "_stopped", lambda connection, steps: (stopped(connection, steps)[0], set()))
    quicken(company, approval={"always": True})
    request = company.submit(person_in(company, "support"))
    company.drive()
    write(
        company,
        "UPDATE steps SET state = 'due', phase = 'erase', due_at = clock_timestamp() WHERE request_id = :id",
        id=request,
    )
    company.drive()
    assert effects(company) != []


def searched_after_the_freeze(company: Company) -> tuple[SamplePerson, UUID]:
    """The warehouse's search takes longer than the plan waits, and then finds more than may go without approval."""
    quicken(company, locate_timeout_seconds=0.0, approval={"max_records_per_system": 3})
    person = next(p for p in company.world.ordinary if p.number % 3 == 2 and p.number % 4 == 3)
    request = company.submit(person)
    turn_until(company, lambda: company.request(request).plan_version == 1, only=lambda name: False)
    assert not any(step.located for step in company.steps(request).values())
    for _ in range(4):
        turn(company.runtime, only=lambda name: name == "warehouse")
    return person, request


def test_a_late_search_is_under_the_same_guards(company: Company) -> None:
    _, request = searched_after_the_freeze(company)
    step = company.steps(request)["warehouse"]
    assert sum(step.counts.values()) > 3
    assert (step.state, step.phase, step.erased) == ("waiting", "locate", {})
    assert plans(company, request)[-1].approval_reasons == ["too_many_records_in_a_system"]


def test_without_a_new_version_a_late_search_erases_unapproved(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (record_answers, decide_results):
        monkeypatch.setattr(module, "adds_to_plan", lambda row, step, found: False)
    _, request = searched_after_the_freeze(company)
    assert company.steps(request)["warehouse"].erased != {}


def test_a_plan_frozen_during_the_search_gets_what_was_found_as_its_next_version(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(company, locate_timeout_seconds=1.0)
    request = company.submit(person_in(company, "support"))
    turn_until(company, lambda: is_due_in(company, request, "support", "locate"), only=lambda name: False)
    leased = lease_steps.lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    assert leased.phase is Phase.LOCATE
    assert [step.subject.already_reported for step in leased.steps] == [{}]
    real = record_answers._Recording._lock_frozen_requests

    def then_freeze(recording: Any) -> None:
        real(recording)
        turn_until(company, lambda: company.request(request).plan_version == 1, only=lambda name: False)

    with monkeypatch.context() as patch:
        patch.setattr(record_answers._Recording, "_lock_frozen_requests", then_freeze)
        execute_batch(company.runtime, leased)
    step = company.steps(request)["support"]
    assert (step.state, step.phase, step.located, step.record_hashes) == ("due", "locate", False, [])
    company.drive()
    assert company.steps(request)["support"].plan_version > 1
    assert endings(company, request)["support"] == ("erased_verified", None)


def test_a_find_after_the_answer_is_approved_as_well(company: Company) -> None:
    person = person_in(company, "support")
    quicken(company, approval={"max_records_per_system": 12})
    company.sandboxes["support"].options["purge_after"] = 3600.0
    request = company.submit(person)
    turn_until(company, lambda: company.request(request).state == "fulfilled")
    assert company.steps(request)["support"].state == "accepted"
    late_user(company, person, tickets=20)
    time.sleep(0.15)  # the vendor's search is as late as its index
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'accepted'")
    turn_until(company, lambda: company.request(request).reason == "awaiting_approval")

    company.drive(patience_seconds=0.2)
    assert company.request(request).state == "fulfilled"
    assert len(late_users(company)) == 1
    company.sandboxes["support"].options["purge_after"] = 0.0
    approve(company, request)
    assert company.request(request).reason is None
    company.drive()
    assert company.residue(person) == []
    assert endings(company, request)["support"] == ("erased_verified", None)


def test_finds_after_a_withdrawal_are_left_alone(company: Company) -> None:
    quicken(company)
    person = person_in(company, "support")
    company.sandboxes["support"].options["purge_after"] = 3600.0
    request = company.submit(person)
    turn_until(company, lambda: (s := company.steps(request).get("support")) and s.effect_possible)
    turn_until(company, lambda: company.steps(request)["support"].phase == "confirm")
    late_user(company, person)
    time.sleep(0.15)
    write(company, "UPDATE requests SET state = 'in_progress', reason = 'erasing' WHERE state = 'fulfilled'")
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state IN ('due', 'accepted')")
    turn_until(
        company,
        lambda: is_due_in(company, request, "support", "locate"),
        only=lambda name: name != "support" or company.steps(request)["support"].phase != "locate",
    )
    leased = lease_steps.lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    recorded = company.steps(request)["support"].erased
    assert [step.subject.already_reported for step in leased.steps] == [recorded] != [{}], (
        "told already, so not to be told again"
    )
    revoke_request(company.stores, request, actor="cli")
    execute_batch(company.runtime, leased)
    company.drive(patience_seconds=0.2)
    assert len(late_users(company)) == 1
    assert endings(company, request)["support"] == ("retained", "withdrawn")
    assert len(plans(company, request)) == 1
    assert company.rows("SELECT 1 FROM suppression_entries WHERE removed_at IS NULL") == []
