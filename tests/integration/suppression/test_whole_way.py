"""An erased person who re-appears in an org is found by the sync, waits for a human, and is erased again."""

from __future__ import annotations

import pytest

from connectors.base.sandbox.faults import Fault, FaultKind
from tests.integration.suppression.conftest import Scene

pytestmark = pytest.mark.parametrize("company", [{"org": True, "accounts": ["support"], "people": 12}], indirect=True)


def test_a_person_who_came_back_is_found_approved_and_erased_again(scene: Scene) -> None:
    company = scene.company
    person = next(p for p in company.world.ordinary if p.phones)
    first = scene.erase(person)
    assert scene.sync() == 0

    contact = scene.put("Contact", whose="again", Email=person.emails[0].upper())
    lead = scene.put("Lead", whose="again", Email="elsewhere@example.test", Phone=person.phones[0])
    bystander = scene.put("Contact", Email="bystander@example.test", Phone="+12025550199")
    before = scene.org.snapshot({"again"})
    assert scene.sync() == 1
    (again,) = scene.opened()
    assert (again.reappearance_of, again.state, again.kind) == (first, "open", "erasure")

    company.drive()
    assert company.request(again.id).reason == "awaiting_approval"
    plan = company.rows("SELECT * FROM plans WHERE request_id = :r", r=again.id)[0]
    assert plan.approval_reasons == ["reappeared"]
    # Nothing has happened to anybody.
    assert scene.there(contact, lead, bystander) == [contact, lead, bystander]

    scene.approve(again.id)
    company.drive()
    assert company.request(again.id).state == "fulfilled"
    assert scene.there(contact, lead, bystander) == [bystander]
    assert company.residue(person) == []
    assert scene.org.changed_bystanders(before) == []
    listed = company.rows("SELECT * FROM suppression_entries WHERE request_id = :r AND removed_at IS NULL", r=again.id)
    assert len(listed) == 2
    # Seen again by the overlap, they open nothing more; nor does whoever never was erased.
    assert scene.sync() == 0
    assert len(scene.opened()) == 1
