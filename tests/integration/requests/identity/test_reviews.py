"""A review of an over-merged cluster: nothing goes on by default, and what is kept in doubt takes a second person."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import duckdb
import pytest

from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_world import SamplePerson
from service.audit.rebuild import replay_audit
from service.domain.audit.entry import decode_entry
from service.domain.errors import Invalid, SamePerson, StaleDoubts, UndecidedDoubts, WrongState
from service.domain.identity.doubts import DoubtDecision
from service.requests.identity import resolve as settle_identity
from service.requests.identity.review import Review, continue_request
from service.requests.identity.show import DoubtView, EdgeView
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.requests.planning.approve import approve_plan
from service.requests.seal import seal_due_requests
from service.requests.show import RequestView, show_request
from tests.company import Company
from tests.scenes import caller, decide, effects, person_in, quicken, use, write

pytestmark = pytest.mark.usefixtures("replayed")

KEEP, DROP = DoubtDecision.KEEP, DoubtDecision.DROP


def over_merged(company: Company) -> tuple[UUID, SamplePerson, list[SamplePerson]]:
    """A request whose walk reaches two other people by a recycled mailbox, waiting for its review."""
    quicken(company)
    person, *others = company.world.over_merged
    request = company.submit(person)
    company.drive()
    assert company.request(request).reason == "needs_review"
    return request, person, others


def values_of(people: list[SamplePerson]) -> set[str]:
    return {value.lower() for person in people for value in person.residue_values}


def approve(company: Company, request: UUID, by: Any) -> None:
    (plan,) = company.rows("SELECT hash FROM plans WHERE request_id = :id", id=request)
    approve_plan(company.stores, company.settings, request, plan_hash=plan.hash, caller=by)


def test_a_bare_review_is_refused_and_nobody_is_touched(company: Company) -> None:
    request, _, others = over_merged(company)
    before = [company.residue(other) for other in others]
    with pytest.raises(UndecidedDoubts) as refused:
        continue_request(company.stores, request, Review(), caller=caller())
    company.drive()
    shown = show_request(company.stores, request)
    assert shown.reason == "needs_review"
    named = " ".join(reason for _, reason in refused.value.errors)
    assert shown.doubts
    assert all(f"{doubt.id} is undecided; allowed: keep, drop" in named for doubt in shown.doubts)
    assert [company.residue(other) for other in others] == before
    assert effects(company) == []


def test_dropping_the_edge_erases_only_the_person(company: Company) -> None:
    request, person, others = over_merged(company)
    before = [company.residue(other) for other in others]
    view = show_request(company.stores, request)
    imported = [d for d in view.doubts if d.edge and [claim.source for claim in d.edge.evidence] == ["import"]]
    bridge = min(imported, key=lambda doubt: len(path_to(view, doubt)))
    assert bridge.reason == "two_values_of_one_per_person_kind"
    # What hangs on the edge is dropped with it, whatever other people's edges are like.
    decisions = [(d.id, DROP if bridge.edge in path_to(view, d) else KEEP) for d in view.doubts]
    assert {word for _, word in decisions} == {KEEP, DROP}
    review = Review(decisions=decisions, doubts_version=view.doubts_version)
    continue_request(company.stores, request, review, caller=caller())
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert company.residue(person) == []
    assert [company.residue(other) for other in others] == before
    assert company.rows("SELECT 1 FROM plans WHERE approval_reasons <> '{}'") == []


def path_to(view: RequestView, doubt: DoubtView) -> list[EdgeView]:
    """The links that lead to the far end of the doubt's link."""
    edge = doubt.edge
    return [] if edge is None else next(each.path for each in view.identifiers if each.ordinal == edge.far)


def test_keeping_two_values_waits_for_a_second_person(company: Company) -> None:
    request, person, others = over_merged(company)
    before = [company.residue(each) for each in (person, *others)]
    reviewer, submitter = caller(), replace(caller(), key_id=company.request(request).submitted_by)
    decide(company, request, by=reviewer)
    company.drive()
    view = show_request(company.stores, request)
    assert (view.reason, view.plan and view.plan.approval_reasons) == ("awaiting_approval", ["two_values_kept"])
    assert effects(company) == []
    assert [company.residue(each) for each in (person, *others)] == before
    # The second person sees who decided what.
    assert [each.decided_by for each in view.reviews] == [reviewer.key_id]
    assert {each.decision for each in view.reviews[0].decisions} == {"keep"}
    for same in (reviewer, submitter):
        with pytest.raises(SamePerson):
            approve(company, request, same)
    approve(company, request, caller())
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert company.residue(others[0]) == []


def test_without_the_reasons_one_reviewer_erases_them_all(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_identity, "reasons_of", lambda doubts: frozenset())
    request, _, others = over_merged(company)
    decide(company, request)
    company.drive()
    assert company.residue(others[0]) == []


def test_cutting_too_late_takes_a_second_person(company: Company) -> None:
    request, _, others = over_merged(company)
    # Only the other customer numbers are cut off; a mailbox of somebody else is kept.
    decide(company, request, *(other.customer_id.lower() for other in others))
    company.drive()
    assert company.request(request).reason == "awaiting_approval"
    assert effects(company) == []


def test_decisions_about_older_doubts_are_refused(company: Company) -> None:
    request, _, others = over_merged(company)
    view = show_request(company.stores, request)
    decisions = [(doubt.id, KEEP) for doubt in view.doubts]
    stale = Review(decisions=decisions, doubts_version=view.doubts_version - 1)
    with pytest.raises(StaleDoubts):
        continue_request(company.stores, request, stale, caller=caller())
    with pytest.raises(UndecidedDoubts) as without:
        continue_request(company.stores, request, Review(decisions=decisions), caller=caller())
    assert [field for field, _ in without.value.errors] == ["/doubts_version"]
    for wrong in ([*decisions, decisions[0]], decisions[1:], [*decisions, ("low_confidence.98-99", DROP)]):
        given = Review(decisions=wrong, doubts_version=view.doubts_version)
        with pytest.raises(UndecidedDoubts) as refused:
            continue_request(company.stores, request, given, caller=caller())
        assert len(refused.value.errors) == 1
    decide(company, request, *values_of(others))
    with pytest.raises(WrongState):
        continue_request(
            company.stores, request, Review(decisions=decisions, doubts_version=view.doubts_version), caller=caller()
        )


def test_masks_of_one_request_differ_and_say_why_each_is_in(company: Company) -> None:
    request, _, _ = over_merged(company)
    view = show_request(company.stores, request)
    masks = [each.masked for each in view.identifiers]
    assert len(set(masks)) == len(masks) > 10
    assert all(mask and mask.endswith(f" #{each.ordinal}") for mask, each in zip(masks, view.identifiers, strict=True))
    by_ordinal = {each.ordinal: each for each in view.identifiers}
    for each in view.identifiers:
        if each.path:
            assert by_ordinal[each.path[0].near].verification is not None
            assert [edge.near for edge in each.path[1:]] == [edge.far for edge in each.path[:-1]]
            assert all(edge.evidence for edge in each.path)
    sources = {claim.source for edge in view.edges for claim in edge.evidence}
    assert sources == {"crm", "web", "import"}
    assert {claim.confidence for edge in view.edges for claim in edge.evidence} == {0.9, 0.95, 0.97, 1.0}


def link_weakly(company: Company, person: SamplePerson, other: SamplePerson) -> None:
    with duckdb.connect(str(company.warehouse)) as warehouse:
        columns = "kind_a, value_a, kind_b, value_b, source, confidence"
        edge = ["email", person.emails[0], "email", other.emails[0], "guess", 0.2]
        warehouse.execute(f"INSERT INTO identity_edges ({columns}) VALUES (?, ?, ?, ?, ?, ?)", edge)


def weakly_linked(company: Company, **graph: Any) -> tuple[UUID, SamplePerson, SamplePerson]:
    """A request with one weak edge to somebody else, waiting for its review."""
    quicken(company)
    known = company.settings.identity_graph
    assert known is not None
    use(company, replace(company.settings, identity_graph=known.model_copy(update={"min_confidence": 0.5, **graph})))
    person, other = person_in(company, "support"), person_in(company, "mailing", skip=3)
    link_weakly(company, person, other)
    request = company.submit(person)
    company.drive()
    return request, person, other


def test_a_weak_edge_is_shown_and_dropped_or_kept_by_two(company: Company) -> None:
    request, person, other = weakly_linked(company)
    view = show_request(company.stores, request)
    (doubt,) = view.doubts
    assert (doubt.reason, doubt.allowed, doubt.takes_second_person) == ("low_confidence", ["keep", "drop"], True)
    assert doubt.edge is not None
    assert [(each.source, each.confidence) for each in doubt.edge.evidence] == [("guess", 0.2)]
    (beyond,) = view.beyond
    assert (beyond.ordinal, beyond.kind, beyond.exclusion) == (doubt.edge.far, "email", "not_examined")
    decide(company, request, other.emails[0].lower())
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert company.residue(person) == []
    assert company.residue(other) != []


def test_a_kept_weak_edge_is_followed_after_an_approval(company: Company) -> None:
    request, _, other = weakly_linked(company, one_per_person_kinds=frozenset())
    decide(company, request)
    company.drive()
    view = show_request(company.stores, request)
    assert (view.reason, view.plan and view.plan.approval_reasons) == ("awaiting_approval", ["weak_edge_kept"])
    assert company.residue(other) != []
    approve(company, request, caller())
    company.drive()
    assert company.residue(other) == []


def test_two_values_behind_a_kept_weak_edge_are_asked_about_anew(company: Company) -> None:
    request, _, other = weakly_linked(company)
    decide(company, request)
    company.drive()
    row = company.request(request)
    assert (row.reason, row.doubts_version) == ("needs_review", 2)
    assert {d["reason"] for d in row.doubts} == {"low_confidence", "two_values_of_one_per_person_kind"}
    assert company.residue(other) != []


def test_a_kept_supernode_addresses_and_is_not_walked_through(company: Company) -> None:
    quicken(company)
    person, crowd = person_in(company, "support"), [f"visitor-{n}" for n in range(51)]
    with duckdb.connect(str(company.warehouse)) as warehouse:
        columns = "kind_a, value_a, kind_b, value_b, source, confidence"
        edges = [["email", person.emails[0], "anonymous_id", each, "web", 1.0] for each in crowd]
        warehouse.executemany(f"INSERT INTO identity_edges ({columns}) VALUES (?, ?, ?, ?, ?, ?)", edges)
    given = [Identifier("email", person.emails[0]), Identifier("customer_id", person.customer_id)]
    request = company.submit(person, *given)
    company.drive()
    (doubt,) = show_request(company.stores, request).doubts
    assert (doubt.reason, doubt.edge) == ("supernode", None)
    decide(company, request)
    company.drive()
    view = show_request(company.stores, request)
    assert (view.reason, view.plan and view.plan.approval_reasons) == ("awaiting_approval", ["supernode_kept"])
    planned = [each for each in view.identifiers if each.use == "planned"]
    assert sum(each.kind == "email" for each in planned) >= 2
    assert not {hash_of(company, each) for each in crowd} & hashes(company, request)


def test_what_was_only_claimed_is_kept_by_its_proof_however_it_is_spelled(company: Company) -> None:
    quicken(company)
    person, other = person_in(company, "support"), person_in(company, "mailing", skip=3)
    at = datetime.now(UTC)
    claimed = Identifier("email", other.emails[0].upper())
    proven = SubmittedIdentifier(Identifier("email", person.emails[0]), "email_link", at)
    both = Submission("erasure", "gdpr", (proven, SubmittedIdentifier(claimed, None, None)), at, None, uuid4(), None)
    request = UUID(submit_request(company.stores, company.settings, both).id)
    company.drive()
    view = show_request(company.stores, request)
    (doubt,) = view.doubts
    (row,) = [each.id for each in view.identifiers if each.exclusion == "unverified"]
    assert (doubt.reason, doubt.identifiers) == ("unverified_identifier", [row])
    kept = Review(decisions=[(doubt.id, KEEP)], doubts_version=view.doubts_version)
    with pytest.raises(Invalid) as refused:
        continue_request(company.stores, request, kept, caller=caller())
    assert refused.value.field == "/verify"
    dropped = Review(decisions=[(doubt.id, DROP)], doubts_version=view.doubts_version)
    continue_request(company.stores, request, dropped, caller=caller())
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert company.residue(other) != []


def test_a_supernode_alone_can_be_kept(company: Company) -> None:
    quicken(company)
    person = person_in(company, "support")
    with duckdb.connect(str(company.warehouse)) as warehouse:
        columns = "kind_a, value_a, kind_b, value_b, source, confidence"
        edges = [["email", person.emails[0], "anonymous_id", f"visitor-{n}", "web", 1.0] for n in range(51)]
        warehouse.executemany(f"INSERT INTO identity_edges ({columns}) VALUES (?, ?, ?, ?, ?, ?)", edges)
    request = company.submit(person)
    company.drive()
    view = show_request(company.stores, request)
    assert [doubt.reason for doubt in view.doubts] == ["no_identifier_left", "supernode"]
    decide(company, request)
    company.drive()
    assert company.request(request).reason == "awaiting_approval"


def hash_of(company: Company, value: str) -> bytes:
    return company.stores.pepper.of_identifier(Identifier("anonymous_id", value))


def hashes(company: Company, request: UUID) -> set[bytes]:
    return {
        bytes(r.keyed_hash)
        for r in company.rows("SELECT keyed_hash FROM identifiers WHERE request_id = :id", id=request)
    }


def test_the_log_tells_kinds_and_ordinals_and_replays(company: Company) -> None:
    request, person, others = over_merged(company)
    decide(company, request, *values_of(others))
    company.drive()
    rows = company.rows("SELECT entry FROM audit_pending ORDER BY id")
    entries = [bytes(row.entry) for row in rows]
    told = {e["event"]: e["data"] for e in map(decode_entry, entries) if e["object_id"] == str(request)}
    opened, decided = told["review_opened"], told["review_decided"]
    assert opened["count"] == len(opened["doubts"]) == len(opened["about"]) == len(decided["decisions"])
    assert (opened["doubts_version"], decided["doubts_version"]) == (1, 1)
    assert set(decided["decisions"]) == {"keep", "drop"}
    said = b"".join(entries).lower()
    assert not [value for value in values_of([person, *others]) if value.encode() in said]
    report = replay_audit(company.stores.engine)
    assert report.differences == ()


def test_what_explains_a_request_is_sealed_and_goes_with_it(company: Company) -> None:
    request, person, others = over_merged(company)
    (row,) = company.rows("SELECT sealed FROM identity_explanations WHERE request_id = :id", id=request)
    assert not [value for value in values_of([person, *others]) if value.encode() in bytes(row.sealed).lower()]
    decide(company, request, *values_of(others))
    company.drive()
    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE id = :id AND next_action = 'seal'", id=request)
    assert seal_due_requests(company.stores) == 1

    view = show_request(company.stores, request)

    assert company.rows("SELECT 1 FROM identity_explanations") == []
    assert (view.sealed, view.edges, view.beyond) == (True, [], [])
    assert {each.masked for each in view.identifiers} == {each.ordinal for each in view.identifiers} == {None}
    assert {each.decision for each in view.reviews[0].decisions} == {"keep", "drop"}
