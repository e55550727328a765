"""An erased person who re-appears in an org is found by the sync, waits for a human, and is erased again."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from connectors.testing.sandbox.faults import Fault, FaultKind
from service.audit.rebuild import replay_audit
from tests.audit_replay import differences
from tests.company import Company
from tests.integration.suppression.company_with_org import CompanyWithOrg
from tests.scenes import decide

pytestmark = pytest.mark.parametrize("company", [{"org": True, "accounts": ["support"], "people": 12}], indirect=True)


@pytest.fixture
def scene(company: Company) -> Iterator[CompanyWithOrg]:
    yield CompanyWithOrg(company)
    assert differences(company.stores.engine) == []
    assert replay_audit(company.stores.engine).differences == ()


def test_a_person_who_came_back_is_found_approved_and_erased_again(scene: CompanyWithOrg) -> None:
    company = scene.company
    person = next(p for p in company.world.ordinary if p.phones)
    first = scene.erase(person)
    assert scene.sync() == 0
    contact = scene.put("Contact", whose="again", Email=person.emails[0].upper())
    lead = scene.put("Lead", whose="again", Email="elsewhere@example.test", Phone=person.phones[0])
    bystander = scene.put("Contact", Email="bystander@example.test", Phone="+12025550199")
    before = scene.org.snapshot({"again"})

    # Who can't see finds nobody, and doesn't pass anybody over.
    cursor = scene.row.cursor
    scene.org.faults = [Fault(FaultKind.BLIND, times=None)]
    assert scene.sync() == 0
    assert (scene.row.cursor, scene.row.last_error) == (cursor, "no_visibility")
    scene.org.faults = []

    assert scene.sync() == 1
    (again,) = scene.opened()
    assert (again.reappearance_of, again.state, again.kind) == (first, "open", "erasure")
    company.drive()
    assert company.request(again.id).reason == "awaiting_approval"
    plan = company.rows("SELECT * FROM plans WHERE request_id = :r", r=again.id)[0]
    assert plan.approval_reasons == ["reappeared"]
    # Nothing has happened to anybody, and what is waited for isn't opened twice.
    assert scene.there(contact, lead, bystander) == [contact, lead, bystander]
    assert scene.sync() == 0

    scene.approve(again.id)
    company.drive()
    assert company.request(again.id).state == "fulfilled"
    assert scene.there(contact, lead, bystander) == [bystander]
    assert company.residue(person) == []
    assert scene.org.changed_bystanders(before) == []
    listed = company.rows("SELECT * FROM suppression_entries WHERE request_id = :r AND removed_at IS NULL", r=again.id)
    assert len(listed) == 2
    assert scene.sync() == 0
    assert len(scene.opened()) == 1


@pytest.mark.long
def test_the_policy_erase_asks_nobody_about_whom_the_list_knew(scene: CompanyWithOrg) -> None:
    scene.policy("erase")
    person = scene.company.world.ordinary[0]
    scene.erase(person)
    contact = scene.put("Contact", Email=person.emails[0])
    scene.sync()
    scene.company.drive()
    assert [again.state for again in scene.opened()] == ["fulfilled"]
    assert scene.there(contact) == []


@pytest.mark.long
def test_the_policy_erase_asks_about_somebody_to_whom_an_address_passed(scene: CompanyWithOrg) -> None:
    """The mailbox of an erased person is another customer's now, says the graph."""
    scene.policy("erase")
    person, other = scene.company.world.ordinary[:2]
    scene.erase(person)
    with duckdb.connect(str(scene.company.warehouse)) as warehouse:
        columns = "kind_a, value_a, kind_b, value_b, source, confidence"
        edge = ["email", person.emails[0], "email", other.emails[0], "crm", 1.0]
        warehouse.execute(f"INSERT INTO identity_edges ({columns}) VALUES (?, ?, ?, ?, ?, ?)", edge)
    scene.put("Contact", Email=person.emails[0])
    scene.sync()
    scene.company.drive()
    assert [again.reason for again in scene.opened()] == ["awaiting_approval"]
    assert scene.company.residue(other) != []


@pytest.mark.long
def test_the_policy_report_searches_for_nobody_before_a_review(scene: CompanyWithOrg) -> None:
    scene.policy("report")
    person = scene.company.world.ordinary[0]
    scene.erase(person)
    scene.put("Contact", Email=person.emails[0])
    scene.sync()
    scene.company.drive()
    (again,) = scene.opened()
    assert (again.reason, scene.company.steps(again.id)) == ("needs_review", {})
    decide(scene.company, again.id)
    scene.company.drive()
    assert scene.company.request(again.id).reason == "awaiting_approval"
