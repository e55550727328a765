"""Systems that need no search have none: their steps begin with the plan, under every guard that the others have."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from service.domain.access.api_key import Caller, Scope
from service.domain.errors import WrongState
from service.domain.execution.events import Decision, ResolutionReason
from service.domain.requests.holds import HoldReason, LiftReason
from service.execution.steps.resolve import resolve_step
from service.requests.holds.lift import lift_hold
from service.requests.holds.place import PlacedHold, place_hold
from service.requests.identity import resolve as settle_identity
from service.requests.planning.approve import approve_plan
from service.requests.withdraw import revoke_request
from tests.drive import turn
from tests.integration.execution.systems.conftest import Office, OpenOffice
from tests.integration.execution.systems.told_vendor import email

BOTH = {"news": "told", "mail": "told_to_stop"}
MIXED = {"news": "told", "crm": "searched"}
_DUE = ("erase", "due", None)


def caller() -> Caller:
    return Caller(uuid4(), frozenset(Scope))


def hold(office: Office, name: str) -> PlacedHold:
    return place_hold(
        office.stores,
        office.settings,
        identifiers=[email(name)],
        reason=HoldReason.LITIGATION,
        until=None,
        caller=caller(),
    )


def endings(office: Office, request: UUID) -> set[str]:
    return {state for _, state, _ in office.places(request).values()}


@pytest.mark.parametrize("alone", [False, True], ids=["together", "one_by_one"])
def test_who_needs_no_search_is_released_as_they_are_settled(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    if alone:
        monkeypatch.setattr(settle_identity, "resolve_batch", lambda *given: frozenset())
    office = open_office(BOTH)
    known, unknown = office.submit("ada", "ada2"), office.submit("eve", known_in=())
    office.settle()

    for request in (known, unknown):
        assert office.places(request) == {"news": _DUE, "mail": ("suppress", "due", None)}
        row = office.request(request)
        assert (row.state, row.reason, row.next_action, row.plan_version) == ("in_progress", "erasing", None, 1)
        told = office.events(request)
        assert told == ["request_submitted", "request_settled", "plan_frozen"]
    assert {row.plan_version for row in office.rows("SELECT plan_version FROM steps")} == {1}
    assert len(office.rows("SELECT 1 FROM suppression_entries WHERE request_id = :id", id=known)) == 2
    office.drive()

    assert endings(office, known) == {"erased_verified"}
    assert endings(office, unknown) == {"absent"}, "nobody is absent but by a look that answered"
    assert office.vendors["news"].operations() == ["erase", "confirm"]
    assert office.vendors["mail"].operations() == ["suppress", "erase", "confirm"]
    assert office.request(known).state == office.request(unknown).state == "fulfilled"
    assert not any(vendor.people for vendor in office.vendors.values())


def test_they_wait_for_the_searches_of_the_others(open_office: OpenOffice) -> None:
    office = open_office(MIXED)
    request = office.submit("ada")
    office.settle()
    turn(office.runtime, only=lambda system: system == "news")
    assert office.places(request) == {"news": ("locate", "waiting", None), "crm": ("locate", "due", None)}
    assert office.vendors["news"].heard == [], "nothing is done before the plan is frozen"
    office.drive()
    assert endings(office, request) == {"erased_verified"}
    assert office.vendors["crm"].operations()[0] == "locate"
    assert office.vendors["news"].operations() == ["erase", "confirm"]


def test_a_wide_plan_waits_for_its_approval(open_office: OpenOffice) -> None:
    office = open_office(BOTH, max_identifiers=1)
    request = office.submit("ada", "ada2")
    office.drive()
    assert office.request(request).reason == "awaiting_approval"
    assert office.places(request) == dict.fromkeys(BOTH, ("locate", "waiting", None))
    assert not any(vendor.heard for vendor in office.vendors.values())
    (plan,) = office.rows("SELECT * FROM plans WHERE request_id = :id", id=request)
    assert plan.approval_reasons == ["too_many_identifiers"]

    approve_plan(office.stores, office.settings, request, plan_hash=plan.hash, caller=caller())
    office.drive()
    assert endings(office, request) == {"erased_verified"}


def test_a_held_person_parks_and_goes_on_when_the_hold_is_lifted(open_office: OpenOffice) -> None:
    office = open_office(BOTH)
    placed = hold(office, "ada")
    request, other = office.submit("ada"), office.submit("bob")
    office.drive()
    assert office.places(request) == {
        "news": ("erase", "parked", "legal_hold"),
        "mail": ("suppress", "parked", "legal_hold"),
    }
    assert endings(office, other) == {"erased_verified"}
    assert all(email("ada").value not in people for v in office.vendors.values() for _, people in v.heard)

    lift_hold(office.stores, placed.id, reason=LiftReason.MATTER_CLOSED, actor="cli")
    office.drive()
    assert endings(office, request) == {"erased_verified"}


def test_a_hold_while_they_wait_lets_nothing_begin_before_the_plan(open_office: OpenOffice) -> None:
    office = open_office(MIXED)
    request = office.submit("ada")
    office.settle()
    placed = hold(office, "ada")
    lift_hold(office.stores, placed.id, reason=LiftReason.PLACED_IN_ERROR, actor="cli")
    assert office.places(request)["news"] == ("locate", "waiting", None), "neither parked nor let go before the plan"
    turn(office.runtime, only=lambda system: system == "news")
    assert office.vendors["news"].heard == []
    office.drive()
    assert endings(office, request) == {"erased_verified"}


def test_who_revokes_before_the_first_call_is_not_touched(open_office: OpenOffice) -> None:
    office = open_office(BOTH)
    request = office.submit("ada")
    office.settle()
    revoke_request(office.stores, request, actor="cli")
    office.drive()
    assert set(office.places(request).values()) == {
        ("erase", "retained", "withdrawn"),
        ("suppress", "retained", "withdrawn"),
    }
    assert not any(vendor.heard for vendor in office.vendors.values())


def test_who_is_found_again_is_told_again(open_office: OpenOffice) -> None:
    office = open_office({"news": "told"})
    office.vendors["news"].written_again[email("ada").value] = 1
    request = office.submit("ada")
    office.drive()
    assert office.places(request) == {"news": ("confirm", "erased_verified", None)}
    assert office.vendors["news"].operations() == ["erase", "confirm", "erase", "confirm"]
    assert office.request(request).plan_version == 1, "the identifiers are the plan: nothing is new in it"


def test_who_is_found_again_and_again_goes_to_a_human(open_office: OpenOffice) -> None:
    office = open_office({"news": "told"})
    office.vendors["news"].written_again[email("ada").value] = 99
    request = office.submit("ada")
    office.drive()
    assert office.places(request)["news"][1:] == ("parked", "found_again")
    with pytest.raises(WrongState):
        resolve_step(
            office.stores,
            request,
            "news",
            decision=Decision.ACCEPT_RECORDS,
            reason=ResolutionReason.CHECKED_BY_HAND,
            actor="cli",
        )


@pytest.mark.parametrize("frozen", [False, True])
def test_a_system_that_comes_back_begins_without_a_search(open_office: OpenOffice, frozen: bool) -> None:
    office = open_office(MIXED)
    request = office.submit("ada")
    office.settle()
    office.use({"crm": "searched"})
    assert office.places(request)["news"] == ("locate", "parked", "system_removed")
    if frozen:
        office.drive()
    office.use(MIXED)
    wanted = ("erase", "due", None) if frozen else ("locate", "waiting", None)
    assert office.places(request)["news"] == wanted
    office.drive()
    assert endings(office, request) == {"erased_verified"}


def test_a_doubt_that_the_vendor_has_is_not_answered_by_a_search(open_office: OpenOffice) -> None:
    office = open_office({"news": "told"})
    request = office.submit("ada")
    office.settle()
    office.rows("UPDATE steps SET state = 'parked', reason = 'ambiguous:shared', due_at = NULL")
    with pytest.raises(WrongState, match="don't search"):
        resolve_step(
            office.stores,
            request,
            "news",
            decision=Decision.ACCEPT_RECORDS,
            reason=ResolutionReason.CHECKED_BY_HAND,
            actor="cli",
        )
    office.rows("UPDATE steps SET state = 'due', reason = NULL, due_at = clock_timestamp()")
