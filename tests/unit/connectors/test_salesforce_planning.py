"""The planner: what goes by a call, what goes along, what stays, and in which order."""

from __future__ import annotations

from typing import Any

from connectors.salesforce.deletion.anonymising import anonymised
from connectors.salesforce.deletion.dependents import Row
from connectors.salesforce.deletion.planning import Plan, Planner
from connectors.salesforce.org.schema import Field, ObjectType, Relation, Schema
from connectors.salesforce.policy import SalesforcePolicy

ME, OTHER = "003000000000001AAA", "003000000000002AAA"
ROOT = ("Contact", ME)


def _type(name: str, prefix: str, *fields: Field, deletable: bool = True) -> ObjectType:
    return ObjectType(name, prefix, True, deletable, True, True, {f.name: f for f in fields})


def _ref(name: str, *to: str, updateable: bool = True) -> Field:
    return Field(name, "reference", 18, True, updateable, True, refers_to=to)


def _relation(child: str, field: str, parent: str, flags: str = "") -> Relation:
    return Relation(parent, child, field, field, "c" in flags, "r" in flags)


SCHEMA = Schema(
    {
        "Contact": _type("Contact", "003", Field("Email", "email", 80, True, True)),
        "User": _type("User", "005"),
        "Case": _type("Case", "500", _ref("ContactId", "Contact"), _ref("ParentId", "Case")),
        "CaseComment": _type("CaseComment", "00a", _ref("ParentId", "Case")),
        "Order": _type("Order", "801", _ref("BillToContactId", "Contact")),
        "Fixed__c": _type("Fixed__c", "a09", _ref("Who__c", "Contact", updateable=False)),
        "Task": _type("Task", "00T", _ref("WhoId", "Contact", "Lead")),
        "TaskRelation": _type("TaskRelation", "0RT", _ref("RelationId", "Contact"), deletable=False),
        "ContentDocument": _type("ContentDocument", "069"),
        "ContentDocumentLink": _type("ContentDocumentLink", "06A", _ref("LinkedEntityId", "Contact")),
    }
)


def _row(name: str, record_id: str, relation: Relation | None, parent: tuple[str, str], **values: Any) -> Row:
    return Row(name, record_id, {"Id": record_id, **values}, {(relation, parent): None}, {"ada"})


def _plan(*rows: Row, policy: dict[str, Any] | None = None, **how: Any) -> Plan:
    planner = Planner(SCHEMA, SalesforcePolicy.model_validate(policy or {}), {r.key: r for r in rows}, [ROOT])
    return planner.plan(**how)


CASE = _row("Case", "500A", _relation("Case", "ContactId", "Contact", "r"), ROOT, ContactId=ME)
COMMENT = _row("CaseComment", "00aA", _relation("CaseComment", "ParentId", "Case", "c"), ("Case", "500A"))


def test_a_restricting_child_goes_by_a_call_and_its_cascades_go_along() -> None:
    plan = _plan(CASE, COMMENT)
    assert [key for key, _ in plan.explicit] == [("Case", "500A")]
    assert set(plan.along) == {("CaseComment", "00aA")}


def test_when_cascades_are_too_large_children_go_first_by_calls_of_their_own() -> None:
    plan = _plan(CASE, COMMENT, all_explicit=True)
    assert [key for key, _ in plan.explicit] == [("CaseComment", "00aA"), ("Case", "500A")]


def test_what_the_law_keeps_loses_its_tie_and_is_named() -> None:
    order = _row("Order", "801A", _relation("Order", "BillToContactId", "Contact", "r"), ROOT, BillToContactId=ME)
    plan = _plan(order)
    assert not plan.explicit
    assert [(c.key, dict(c.values)) for c in plan.changes] == [(("Order", "801A"), {"BillToContactId": None})]
    assert [e.reason for e in plan.kept["ada"]] == ["commercial_records"]
    assert not plan.blocked_roots


def test_a_tie_that_cannot_be_cut_keeps_the_root() -> None:
    fixed = _row("Fixed__c", "a09A", _relation("Fixed__c", "Who__c", "Contact", "r"), ROOT, Who__c=ME)
    plan = _plan(fixed, policy={"objects": {"Fixed__c": "retain:tax_law"}})
    assert plan.blocked_roots == {ROOT}
    assert [e.reason for e in plan.left["ada"]] == ["cannot_be_unlinked"]


def test_a_shared_task_passes_to_the_other_person() -> None:
    task = _row("Task", "00TA", _relation("Task", "WhoId", "Contact", "c"), ROOT, WhoId=ME)
    relation = _relation("TaskRelation", "TaskId", "Task", "c")
    plan = _plan(
        task,
        *(
            _row("TaskRelation", i, relation, ("Task", "00TA"), RelationId=w)
            for i, w in (("0RTA", ME), ("0RTB", OTHER))
        ),
    )
    assert not plan.explicit
    assert [(c.key, dict(c.values)) for c in plan.changes] == [(("Task", "00TA"), {"WhoId": OTHER})]


def test_somebody_elses_case_below_mine_only_loses_its_tie() -> None:
    relation = _relation("Case", "ParentId", "Case", "c")
    theirs = _row("Case", "500B", relation, ("Case", "500A"), ContactId=OTHER, ParentId="500A")
    plan = _plan(CASE, theirs)
    assert [key for key, _ in plan.explicit] == [("Case", "500A")]
    assert [dict(c.values) for c in plan.changes] == [{"ParentId": None}]


def _file(*linked: str) -> list[Row]:
    links = _relation("ContentDocumentLink", "ContentDocumentId", "ContentDocument", "c")
    mine = _relation("ContentDocumentLink", "LinkedEntityId", "Contact", "c")
    rows = []
    for n, entity in enumerate(linked):
        values = {"ContentDocumentId": "069A", "LinkedEntityId": entity}
        row = _row("ContentDocumentLink", f"06A{n}", links, ("ContentDocument", "069A"), **values)
        if entity == ME:
            row.parents[(mine, ROOT)] = None
        rows.append(row)
    return [*rows, _row("ContentDocument", "069A", None, rows[0].key)]


def test_a_file_goes_with_its_uploaders_link() -> None:
    assert [key for key, _ in _plan(*_file(ME, "005000000000009AAA")).explicit] == [("ContentDocument", "069A")]


def test_a_file_that_somebody_else_has_too_stays() -> None:
    assert not _plan(*_file(ME, OTHER)).explicit


def test_a_case_that_stays_without_its_values_loses_what_hangs_on_it() -> None:
    plan = _plan(CASE, COMMENT, policy={"objects": {"Case": "anonymise"}})
    assert [key for key, _ in plan.explicit] == [("CaseComment", "00aA")]
    assert [c.key for c in plan.changes] == [("Case", "500A")]
    assert not _plan(CASE, COMMENT, policy={"objects": {"Case": "retain:tax_law"}}).explicit


def test_a_file_of_a_case_that_stays_without_its_values_goes() -> None:
    rows = _file("500A")
    rows[0].parents[(_relation("ContentDocumentLink", "LinkedEntityId", "Case", "c"), ("Case", "500A"))] = None
    gone = {key for key, _ in _plan(CASE, *rows, policy={"objects": {"Case": "anonymise"}}).explicit}
    assert ("ContentDocument", "069A") in gone


FACTS = {
    "Email": Field("Email", "email", 80, False, True),
    "Short": Field("Short", "email", 22, False, True),
    "Name": Field("Name", "string", 5, False, True),
    "Site": Field("Site", "url", 255, False, True),
    "Note": Field("Note", "textarea", 100, True, True),
    "Topic": Field("Topic", "combobox", 255, True, True),
    "Salutation": Field("Salutation", "picklist", 40, True, True, choices=("Mx.",)),
    "Stage": Field("Stage", "picklist", 20, False, True, choices=("A",)),
    "Born__c": Field("Born__c", "date", 0, True, True),
    "Birthdate": Field("Birthdate", "date", 0, True, True),
    "Place__Latitude__s": Field("Place__Latitude__s", "double", 0, True, True),
    "MailingLatitude": Field("MailingLatitude", "double", 0, True, True),
    "Amount": Field("Amount", "double", 0, True, True),
    "Made": Field("Made", "string", 20, True, False),
}


def _schema(facts: dict[str, Field]) -> Schema:
    return Schema({"X__c": ObjectType("X__c", "a01", True, True, True, True, facts)})


def test_anonymised_values_keep_to_type_and_length() -> None:
    values = anonymised(_schema(FACTS), "X__c", "a01000000000001AAA")
    email, short = values.pop("Email"), values.pop("Short")
    assert email.endswith("@anonymised.invalid")
    assert len(short) <= 22
    assert short.endswith("@anonymised.invalid")
    assert values == {
        "Name": "Anony",
        "Site": "https://anonymised.invalid",
        "Note": None,
        "Topic": None,
        "Salutation": None,
        "Birthdate": None,
        "MailingLatitude": None,
    }


def test_values_that_must_be_unique_differ_however_short_they_are() -> None:
    schema = _schema({"Code__c": Field("Code__c", "string", 8, False, True, unique=True)})
    values = {anonymised(schema, "X__c", f"a010000000{n:05d}AAA")["Code__c"].lower() for n in range(500)}
    assert len(values) == 500
    assert {len(value) for value in values} == {8}


def test_the_policys_value_satisfies_a_rule_of_the_org() -> None:
    given = {"X__c.Name": "X-0000", "Y__c.Name": "other"}
    assert anonymised(_schema(FACTS), "X__c", "a01000000000001AAA", given)["Name"] == "X-000"
