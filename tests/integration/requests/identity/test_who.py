"""Whom a request is about: unverified claims, over-merged clusters, and two requests of one person."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from connectors.base.values import Identifier
from service.requests.deadlines import mark_overdue
from service.requests.identity import resolve as settle_identity
from service.requests.identity.review import LateVerification, Review, continue_request
from service.requests.intake import submit as submit_request
from service.requests.planning import advance as advance_requests
from service.requests.withdraw import revoke_request
from tests.company import Company
from tests.drive import turn
from tests.scenes import caller, decide, effects, endings, person_in, quicken, write

pytestmark = pytest.mark.usefixtures("replayed")

DONE = {"erased_verified", "absent"}


def linked(company: Company, request: UUID) -> UUID | None:
    found: UUID | None = company.request(request).duplicate_of
    return found


def test_an_unverified_request_starts_nothing_and_nobody_waits_for_it(company: Company) -> None:
    quicken(company)
    victim, other, late = (person_in(company, "support", skip=n) for n in range(3))
    claimed = company.submit(victim, verified=False)
    expiring = company.submit(other, verified=False)
    company.drive()
    for request in (claimed, expiring):
        assert company.request(request).reason == "need_user_verification"
        assert company.steps(request) == {}
    assert effects(company) == []

    # The victim's own request is not held up by somebody's unproven claim to the same address.
    proven = company.submit(victim)
    company.drive()
    assert company.request(proven).state == "fulfilled"
    assert {s for s, _ in endings(company, proven).values()} <= DONE

    write(
        company,
        "UPDATE requests SET respond_by = clock_timestamp() - interval '1 second' WHERE id = :id",
        id=expiring,
    )
    assert mark_overdue(company.stores) == 1
    assert company.request(expiring).state == "expired"

    # A claim that is verified later begins then.
    claim = company.submit(late, verified=False)
    company.drive()
    (identifier,) = company.rows("SELECT id, verified_at FROM identifiers WHERE request_id = :id", id=claim)
    proof = LateVerification(identifier.id, "document", company.request(claim).created_at)
    continue_request(company.stores, claim, Review(verify=[proof]), caller=caller())
    company.drive()
    assert company.request(claim).state == "fulfilled"
    assert company.residue(late) == []


def test_an_over_merged_cluster_is_reviewed_and_only_the_person_is_erased(company: Company) -> None:
    quicken(company)
    person, *bystanders = company.world.over_merged
    request = company.submit(person)
    # One of the others asks too, while the review is open: as long as it isn't decided they look like one person.
    second = company.submit(bystanders[0])
    company.drive()
    assert company.request(request).reason == "needs_review"
    assert company.steps(request) == {}
    assert linked(company, second) == request
    before = [company.residue(b) for b in bystanders]

    others = {value.lower() for b in bystanders for value in b.residue_values}
    decide(company, request, *others)
    company.drive()

    assert company.request(request).state == "fulfilled", company.request(request).doubts
    assert company.residue(person) == []
    assert [company.residue(b) for b in bystanders] == before
    # What the review took out was not erased, so it isn't called done: that request goes its own way, to a review.
    freed = company.request(second)
    assert (freed.state, freed.duplicate_of) == ("in_progress", None)
    assert freed.reason in ("needs_review", "locating", "erasing")


def test_a_linked_request_is_called_done_unseen_without_the_comparison(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance_requests, "_covered", lambda c, request, linked: {row.id for row in linked})
    quicken(company)
    person, *bystanders = company.world.over_merged
    request, second = company.submit(person), company.submit(bystanders[0])
    company.drive()
    others = {value.lower() for b in bystanders for value in b.residue_values}
    decide(company, request, *others)
    company.drive()
    assert company.request(second).state == "fulfilled"
    assert company.residue(bystanders[0]) != []


def test_a_second_request_of_the_same_person_waits_for_the_first(company: Company) -> None:
    quicken(company)
    person = person_in(company, "support")
    first = company.submit(person)
    at_once = company.submit(person)
    assert linked(company, at_once) == first
    # The second names the same person by another identifier: only the graph knows, so it is found when it is settled.
    by_phone = company.submit(person, Identifier("phone", person.phones[0]))
    assert linked(company, by_phone) is None
    turn(company.runtime, only=lambda name: False)
    assert linked(company, by_phone) == first
    company.drive()
    assert {company.request(r).state for r in (first, at_once, by_phone)} == {"fulfilled"}
    assert company.steps(by_phone) == company.steps(at_once) == {}

    # Chain: the head is revoked while others hang on it; nobody is forgotten.
    other = person_in(company, "support", skip=1)
    head = company.submit(other)
    tail = company.submit(other)
    revoke_request(company.stores, head, actor="cli")
    assert linked(company, tail) is None
    company.drive()
    assert company.request(tail).state == "fulfilled"
    assert company.residue(other) == []


def test_two_at_once_are_one_persons(company: Company) -> None:
    quicken(company)
    person = person_in(company, "support")
    requests: list[UUID] = []
    given = [Identifier("email", person.emails[0]), Identifier("phone", person.phones[0])]
    threads = [threading.Thread(target=lambda i=i: requests.append(company.submit(person, i))) for i in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    company.drive()
    assert {company.request(r).state for r in requests} == {"fulfilled"}
    assert sorted(len(company.steps(r)) for r in requests) == [0, 5]


def test_a_partial_overlap_is_a_humans_to_decide(company: Company) -> None:
    quicken(company)
    person, stranger = person_in(company, "support"), person_in(company, "mailing", skip=3)
    company.submit(person)
    both = company.submit(person, Identifier("email", person.emails[0]), Identifier("email", stranger.emails[0]))
    turn(company.runtime, only=lambda name: False)
    row = company.request(both)
    assert row.reason == "needs_review"
    assert "meets_open_request" in {d["reason"] for d in row.doubts}
    assert company.steps(both) == {}


def ends_between(company: Company, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """The first request ends after a second one was found to repeat it and before that one is committed."""
    person = person_in(company, "support")
    first = company.submit(person)
    real = submit_request.read_before

    def slow(*args: Any) -> Any:
        found = real(*args)
        revoke_request(company.stores, first, actor="cli")
        company.drive()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(submit_request, "read_before", slow)
        second = company.submit(person)
    assert linked(company, second) == first
    company.drive()
    return second


def test_a_link_to_a_request_that_ends_just_then_is_found(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(company)
    second = ends_between(company, monkeypatch)
    assert company.request(second).state == "fulfilled"


def test_without_asking_again_such_a_request_is_lost(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_request, "request_check", lambda connection, ids: None)
    second = ends_between(company, monkeypatch)
    assert company.request(second).reason == "duplicate"


def test_settling_one_at_a_time_is_what_links(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_identity._Resolution, "_overlap", lambda self, cluster: None)
    person = person_in(company, "support")
    company.submit(person)
    by_phone = company.submit(person, Identifier("phone", person.phones[0]))
    turn(company.runtime, only=lambda name: False)
    assert len(company.steps(by_phone)) == 5


def test_one_request_that_cannot_be_recorded_does_not_stop_those_behind_it(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(company)
    requests = [company.submit(person_in(company, "support", skip=n)) for n in range(3)]
    real = settle_identity._Resolution.resolve

    def settle(self: settle_identity._Resolution, *given: Any) -> None:
        real(self, *given)
        if self.row.id == requests[0]:
            raise ValueError("nobody expected this person")

    def together(*given: Any) -> frozenset[UUID]:
        raise ValueError("nobody expected one of these people")

    with monkeypatch.context() as patch:
        patch.setattr(settle_identity, "resolve_batch", together)
        patch.setattr(settle_identity._Resolution, "resolve", settle)
        turn(company.runtime, only=lambda name: False)
        assert [company.request(r).state for r in requests] == ["open", "in_progress", "in_progress"]
        assert company.steps(requests[0]) == {}
    write(company, "UPDATE requests SET lease_until = NULL")
    turn(company.runtime, only=lambda name: False)
    assert company.request(requests[0]).state == "in_progress"
