"""The stand-in's schema: our notation says what recorded describes say, and real describes run it unmodified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.salesforce.sandbox.schema import load_schema
from connectors.salesforce.sandbox.wire import RowError, full_id, make_id

from ..describes import DESCRIBES, needs_describes
from ..org_client import opened, row


def _relations(describe: dict[str, Any]) -> dict[tuple[str, str], tuple[str | None, bool, bool]]:
    return {
        (r["childSObject"], r["field"]): (r["relationshipName"], r["cascadeDelete"], r["restrictedDelete"])
        for r in describe["childRelationships"]
    }


def _real(name: str) -> dict[str, Any]:
    for path in (DESCRIBES / f"{name}.personaccounts.json", DESCRIBES / f"{name}.json", DESCRIBES / f"min/{name}.json"):
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    raise FileNotFoundError(name)


@needs_describes
def test_our_relations_have_the_flags_of_recorded_describes() -> None:
    ours = load_schema()
    compared = 0
    for name in ("Account", "Contact", "Lead", "Case", "Task", "Event", "Opportunity", "Contract", "Order", "User"):
        recorded, own = _relations(_real(name)), ours.get(name)
        assert own is not None
        for pair, flags in _relations(own.describe).items():
            if pair in recorded and pair[1] not in ("OwnerId", "CreatedById", "LastModifiedById"):
                compared += 1
                assert flags == recorded[pair], (name, pair)
    assert compared > 150


@needs_describes
def test_our_objects_have_the_flags_of_the_recorded_global_describe() -> None:
    recorded = {r["name"]: r for r in json.loads((DESCRIBES / "_global.v48.787.json").read_text())["sobjects"]}
    compared = 0
    for found in load_schema().objects.values():
        if found.name in recorded:
            compared += 1
            for flag in ("createable", "updateable", "deletable", "queryable", "undeletable", "keyPrefix"):
                assert found.describe[flag] == recorded[found.name][flag], (found.name, flag)
    assert compared > 45


@needs_describes
def test_real_describes_are_answered_unmodified_and_drive_deletion() -> None:
    real = _real("Contact")
    with opened(describe_directory=str(DESCRIBES)) as client:
        answer = client.call("GET", "/sobjects/contact/describe").json()
        pairs = _relations(answer)
        assert {pair: pairs[pair] for pair in _relations(real)} == _relations(real)
        fields = {f["name"]: f for f in answer["fields"]}
        assert [fields[f["name"]] for f in real["fields"]] == real["fields"]
        names = {o["name"] for o in client.call("GET", "/sobjects").json()["sobjects"]}
        assert {child for child, _ in pairs} <= names

        client.seed(
            row("Contact", "ada", LastName="Ada"),
            row("ReturnOrder", "order", ContactId="@ada"),
            row("AIRecordInsight", "insight", TargetId="@ada"),
            row("User", "portal", ContactId="@ada"),
        )
        assert client.codes("ada") == ["DELETE_FAILED"]
        client.call("PATCH", f"/sobjects/User/{client.id('portal')}", json={"IsPortalEnabled": False})
        assert client.codes("ada") == ["ok"]
        assert client.ids("SELECT Id FROM ReturnOrder WHERE ContactId = null AND IsDeleted = false") == [
            client.id("order")
        ]
        assert client.ids("SELECT Id FROM AIRecordInsight WHERE IsDeleted = true") == [client.id("insight")]


def test_every_relation_leads_from_a_reference_to_its_parent() -> None:
    schema = load_schema()
    for parent in schema.objects.values():
        for relation in parent.children:
            child = schema.get(relation.child)
            assert child is not None
            field = child.fields[relation.field.lower()]
            assert field["type"] == "reference"
            persons = parent.name == "Account" and "Account" not in field["referenceTo"]
            assert parent.name in field["referenceTo"] or (persons and "Contact" in field["referenceTo"])


def test_describes_carry_a_tag_and_say_when_nothing_changed() -> None:
    with opened() as client:
        for path in ("/sobjects", "/sobjects/Contact/describe"):
            first = client.call("GET", path)
            again = client.call("GET", path, headers={"if-none-match": first.headers["etag"]})
            assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        client.sandbox.options["hidden"] = ["Contact.Phone"]
        again = client.call("GET", "/sobjects/Contact/describe", headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 200


def test_record_counts_are_a_number_per_object() -> None:
    with opened() as client:
        client.seed(row("Contact", LastName="x"), row("Contact", LastName="y"))
        counts = client.call("GET", "/limits/recordCount", params={"sObjects": "Contact,Lead"}).json()["sObjects"]
        assert {c["name"]: c["count"] for c in counts} == {"Contact": 2, "Lead": 0}


def test_an_org_without_person_accounts_has_nothing_of_them() -> None:
    with opened(person_accounts=False) as client:
        describe = client.call("GET", "/sobjects/Account/describe").json()
        assert not [f["name"] for f in describe["fields"] if "Person" in f["name"] or f["name"] == "LastName"]
        assert not [r for r in describe["childRelationships"] if (r["relationshipName"] or "").startswith("Person")]
        pairs = _relations(describe)
        assert ("Case", "AccountId") in pairs
        assert ("Case", "ContactId") not in pairs
        assert client.query("SELECT Id FROM Account WHERE PersonEmail = null").json()[0]["errorCode"] == "INVALID_FIELD"
        client.seed(row("Account", "acme", Name="Acme"), row("Contact", "ada", LastName="Ada", AccountId="@acme"))
        assert client.codes("acme") == ["ok"]


def test_ids_carry_the_documented_checksum() -> None:
    assert full_id("001D000000IRFma") == "001D000000IRFmaIAH"
    assert full_id("001D000000IRFmaIAH") == "001D000000IRFmaIAH"
    for wrong in ("001D000000IRFmaIAI", "001D000000IRFm", "001D000000IRFmaIA", "", None, "001D000000IRF'a"):
        with pytest.raises(RowError):
            full_id(wrong)
    assert len({make_id("003", n) for n in range(1, 5_000)}) == 4_999
