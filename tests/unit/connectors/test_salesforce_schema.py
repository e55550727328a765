"""The schema, from recorded describes where they are there: discovery is the org's, never a list of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.base.errors import AnswerNotUnderstood
from connectors.salesforce.deletion.dependents import DependentSearch
from connectors.salesforce.identifiers import Rules
from connectors.salesforce.org.schema import ObjectType, Schema, parse_object, views_among, wanted_children

DESCRIBES = Path(__file__).parents[3].parent / "shared/data/salesforce-describe"
needs_describes = pytest.mark.skipif(not DESCRIBES.is_dir(), reason="the recorded describes aren't here")


def _object(name: str, fields: list[dict[str, Any]], relations: list[dict[str, Any]], **flags: Any) -> dict[str, Any]:
    facts = {"queryable": True, "deletable": True, "updateable": True, "undeletable": True, "keyPrefix": None, **flags}
    return {"name": name, "fields": fields, "childRelationships": relations, **facts}


def test_a_describe_becomes_fields_and_relations() -> None:
    relation = {
        "childSObject": "Case",
        "field": "ContactId",
        "relationshipName": "Cases",
        "cascadeDelete": False,
        "restrictedDelete": True,
        "deprecatedAndHidden": False,
    }
    parsed = parse_object(_object("Contact", [{"name": "Email", "type": "email", "nillable": True}], [relation]))
    assert parsed.fields["Email"].type == "email"
    (known,) = parsed.relations
    assert (known.child, known.field, known.name, known.restricts, known.cascades) == (
        "Case",
        "ContactId",
        "Cases",
        True,
        False,
    )


def test_a_schema_survives_the_cache() -> None:
    schema = Schema({"Contact": parse_object(_object("Contact", [{"name": "Email", "type": "email"}], []))})
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_an_answer_that_is_no_describe_is_not_understood() -> None:
    with pytest.raises(AnswerNotUnderstood):
        parse_object({"name": "Contact"})


def test_views_are_told_from_objects_of_their_own() -> None:
    names = ["Contact", "ContactFeed", "ContactHistory", "acme__Pledge__c", "acme__Pledge__Share", "FeedItem", "Feed"]
    assert views_among([{"name": n} for n in names]) == {"ContactFeed", "ContactHistory", "acme__Pledge__Share"}


@needs_describes
def test_the_recorded_orgs_relations_are_all_found_and_views_and_people_left_out() -> None:
    rows = {r["name"]: r for r in json.loads((DESCRIBES / "_global.v48.787.json").read_text())["sobjects"]}
    views = views_among(rows.values())
    contact = parse_object(json.loads((DESCRIBES / "Contact.json").read_text()))
    wanted = set(wanted_children({"Contact": contact}, rows, views))
    assert {"Case", "Task", "Event", "CampaignMember", "OpportunityContactRole", "FeedItem", "Order", "Asset"} <= wanted
    assert {"ContactFeed", "ContactHistory", "ContactShare", "ContactChangeEvent", "ActivityHistory"}.isdisjoint(wanted)
    # 46 pairs of queryable and deletable children: facts of the recording, counted independently.
    assert len({c.child for c in contact.relations if c.child in wanted}) >= 35
    children = {name: _child_of(name, contact) for name in wanted}
    schema = Schema({"Contact": contact, **children}, views)
    dependent_search = DependentSearch(schema, None, frozenset())  # type: ignore[arg-type]  # nothing is read here
    usable = dependent_search.usable("Contact")
    assert any(r.name is None for r in usable), "unnamed relations are part of it"
    assert {r.child for r in usable}.isdisjoint({"Contact", "Lead", "User", "Account"})


def _child_of(name: str, parent: ObjectType) -> ObjectType:
    fields = [
        {"name": r.field, "type": "reference", "referenceTo": [parent.name]}
        for r in parent.relations
        if r.child == name
    ]
    return parse_object(_object(name, fields, []))


@needs_describes
def test_every_email_and_phone_field_of_the_recorded_lead_is_asked_for() -> None:
    lead = parse_object(json.loads((DESCRIBES / "Lead.json").read_text()))
    kinds = Rules({}, None).fields_of(lead)
    assert {f.name for f in lead.fields.values() if f.type == "email"} <= set(kinds)
    assert {f.name for f in lead.fields.values() if f.type == "phone"} <= set(kinds)
    assert "LastName" not in kinds
