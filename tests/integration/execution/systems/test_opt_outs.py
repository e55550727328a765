"""Opt-outs are carried out by the engine of erasures: written, read back, and never called done before."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from connectors.base import operations
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.interface import Connector
from connectors.base.transitions import opt_outs
from connectors.base.transitions.states import StepState
from connectors.base.values import Batch
from service.domain.access.api_key import Caller, Scope
from service.domain.requests.holds import HoldReason, LiftReason
from service.execution import lease as leasing
from service.requests.holds.lift import lift_hold
from service.requests.holds.place import place_hold
from service.requests.withdraw import revoke_request
from tests.drive import turn
from tests.integration.execution.systems.conftest import Office, OpenOffice
from tests.integration.execution.systems.told_vendor import ToldConnector, email

SYSTEMS = {"crm": "read_back", "mail": "told_to_stop", "news": "told"}
CALLER = Caller(uuid4(), frozenset(Scope))
CONTACT = ("do_not_contact:email",)


def listed(office: Office, request: UUID) -> set[str]:
    rows = office.rows(
        "SELECT scope FROM suppression_entries WHERE request_id = :id AND removed_at IS NULL", id=request
    )
    return {row.scope for row in rows}


def ends(office: Office, request: UUID) -> dict[str, tuple[str, str | None]]:
    return {system: (state, reason) for system, (_, state, reason) in office.places(request).items()}


def test_an_opt_out_is_written_read_back_and_on_the_list(open_office: OpenOffice) -> None:
    office = open_office(SYSTEMS)
    request = office.submit("ada", scopes=("do_not_sell", "do_not_contact"))
    office.drive()

    assert ends(office, request) == {
        "crm": ("suppressed", None),
        "mail": ("suppressed_unverified", None),
        "news": ("not_addressable", "suppression_not_offered"),
    }
    assert office.vendors["crm"].operations() == ["suppress", "read_suppression"]
    assert office.vendors["mail"].operations() == ["suppress"]
    assert office.vendors["news"].heard == []
    assert office.vendors["crm"].scopes == {email("ada").value: frozenset({"do_not_sell", "do_not_contact:email"})}
    assert office.vendors["mail"].scopes == {email("ada").value: frozenset({"do_not_contact:email"})}
    assert office.vendors["crm"].people == {email("ada").value: 1}, "nothing is erased"
    row = office.request(request)
    assert (row.state, row.reason) == ("fulfilled", None)
    channels = {f"do_not_contact:{channel}" for channel in ("email", "sms", "phone", "push", "post")}
    assert listed(office, request) == {"do_not_sell", *channels}


def test_only_the_scopes_that_were_asked_for_are_written(open_office: OpenOffice) -> None:
    office = open_office({"crm": "read_back", "mail": "told_to_stop"})
    request = office.submit("ada", scopes=("do_not_sell",))
    office.drive()
    assert ends(office, request) == {"crm": ("suppressed", None), "mail": ("not_addressable", "scope_not_offered")}
    assert office.vendors["crm"].scopes == {email("ada").value: frozenset({"do_not_sell"})}
    assert office.vendors["mail"].heard == []


def test_a_person_that_the_system_does_not_know_is_absent(open_office: OpenOffice) -> None:
    office = open_office({"crm": "read_back"})
    request = office.submit("ada", known_in=(), scopes=CONTACT)
    office.drive()
    assert ends(office, request) == {"crm": ("absent", None)}


def test_a_vendor_that_forgets_is_called_again_and_then_a_person_must_know(open_office: OpenOffice) -> None:
    office = open_office({"crm": "read_back"})
    office.vendors["crm"].forgets = 2
    request = office.submit("ada", scopes=CONTACT)
    office.drive()
    assert ends(office, request) == {"crm": ("suppressed", None)}
    assert office.vendors["crm"].operations().count("suppress") == 3

    office.vendors["crm"].forgets = 100
    other = office.submit("bob", scopes=CONTACT)
    office.drive()
    assert ends(office, other) == {"crm": ("parked", "not_suppressed")}
    assert office.request(other).state == "in_progress"
    assert office.request(other).reason == "suppressing"


def test_a_held_person_is_not_touched_and_a_revoked_opt_out_leaves_the_list(open_office: OpenOffice) -> None:
    office = open_office({"crm": "read_back"})
    placed = place_hold(
        office.stores,
        office.settings,
        identifiers=[email("ada")],
        reason=HoldReason.LITIGATION,
        until=None,
        caller=CALLER,
    )
    held, revoked = office.submit("ada", scopes=CONTACT), office.submit("bob", scopes=CONTACT)
    office.settle()
    revoke_request(office.stores, revoked, actor="key:test")
    office.drive()
    assert ends(office, held) == {"crm": ("parked", "legal_hold")}
    assert ends(office, revoked) == {"crm": ("retained", "withdrawn")}
    assert listed(office, revoked) == set()
    assert office.vendors["crm"].suppressed == set()

    lift_hold(office.stores, placed.id, reason=LiftReason.MATTER_CLOSED, actor="cli")
    office.drive()
    assert ends(office, held) == {"crm": ("suppressed", None)}


def test_opt_outs_and_erasures_of_one_person_do_not_meet(open_office: OpenOffice) -> None:
    """Neither is linked to the other, neither waits for a review of the other."""
    office = open_office({"crm": "read_back"})
    first = office.submit("ada", scopes=CONTACT)
    erasure = office.submit("ada")
    again = office.submit("ada", scopes=CONTACT)
    assert {office.request(each).duplicate_of for each in (first, erasure, again)} == {None}
    office.drive()
    assert {office.request(each).state for each in (first, erasure, again)} == {"fulfilled"}
    assert ends(office, erasure) == {"crm": ("erased_verified", None)}
    assert listed(office, erasure) == {"erased"}


def test_the_law_gives_an_opt_out_of_sale_fifteen_business_days(open_office: OpenOffice) -> None:
    office = open_office({"crm": "read_back"})
    days = {}
    for scopes in (("do_not_sell",), ("limit_sensitive", "objection"), ("objection",)):
        row = office.request(office.submit("ada", scopes=scopes, regime="ccpa"))
        days[scopes] = (row.respond_by.date() - row.received_at.date()).days
        assert (row.acknowledge_by is None) == (scopes != ("objection",))
    assert 19 < days["do_not_sell",] < 24
    assert days["objection",] in (44, 45, 46)
    assert days["limit_sensitive", "objection"] == days["do_not_sell",]


def test_an_opt_out_that_failed_and_was_revoked_is_not_called_done(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system can't be read back, so that nothing can say what came of the failed call."""
    office = open_office({"mail": "told_to_stop"})
    request = office.submit("ada", scopes=CONTACT)
    office.settle()

    def fails(self: ToldConnector, batch: Batch, lease: object) -> object:
        raise TemporarilyUnavailable("timeout", effect_unknown=True)

    with monkeypatch.context() as patch:
        patch.setattr(ToldConnector, "suppress", fails)
        turn(office.runtime)
    revoke_request(office.stores, request, actor="cli")
    office.rows("UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due'")
    office.drive()
    assert ends(office, request) == {"mail": ("retained", "withdrawn")}


# --- the rules switched off -------------------------------------------------------------------------------------------


def test_without_the_look_a_forgotten_opt_out_would_be_called_done(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opt_outs.next_step

    def believed(facts, state, **more):  # type: ignore[no-untyped-def]
        looks = state is StepState.DUE and more.get("phase") is opt_outs.Phase.READ_OPT_OUT
        return real(facts, StepState.SUPPRESSED if looks else state, **({} if looks else more))

    monkeypatch.setattr(opt_outs, "next_step", believed)
    office = open_office({"crm": "read_back"})
    office.vendors["crm"].forgets = 100
    request = office.submit("ada", scopes=CONTACT)
    office.drive()
    assert ends(office, request) == {"crm": ("suppressed", None)}
    assert office.vendors["crm"].suppressed == set()


def test_without_their_scopes_people_would_be_opted_out_of_everything(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "read_scopes", lambda connection, ids: {})
    office = open_office({"crm": "read_back"})
    office.submit("ada", scopes=("do_not_sell",))
    office.drive()
    assert office.vendors["crm"].scopes == {email("ada").value: frozenset({"do_not_sell", "do_not_contact:email"})}


def test_without_the_offer_a_connector_would_be_asked_for_what_it_cannot(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_them(connector: Connector, batch: Batch) -> tuple[Batch, dict[str, object]]:
        return batch, {}

    monkeypatch.setattr(operations, "_by_offer", all_of_them)
    office = open_office({"mail": "told_to_stop"})
    request = office.submit("ada", scopes=("do_not_sell",))
    office.drive()
    assert ends(office, request) == {"mail": ("suppressed_unverified", None)}, "it was called done without an effect"
    assert office.vendors["mail"].scopes == {email("ada").value: frozenset()}
