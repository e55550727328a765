"""Creating and changing records in the stand-in: a field takes what its describe says, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ..org_client import OrgClient, opened, row


@pytest.fixture(scope="module")
def org() -> Iterator[OrgClient]:
    with opened(validation_rules={"Contact.Title": "(?!anonymous).*"}) as client:
        client.seed(
            row("Contact", "ada", FirstName="Ada", LastName="Lovelace", Email="ada@example.test"),
            row("Contact", "bob", LastName="Bob", Customer_Number__c="C-1"),
            row("Account", "zoe", IsPersonAccount=True, LastName="Zoe", PersonEmail="zoe@example.test"),
            row(
                "Lead",
                "converted",
                LastName="Ada",
                Company="x",
                Status="x",
                IsConverted=True,
                ConvertedContactId="@ada",
            ),
            row("EmailMessage", "sent", Status="3", FromAddress="ada@example.test"),
            row("EmailMessage", "draft", Status="5", FromAddress="ada@example.test"),
            row("Task", "task", WhoId="@ada", Status="Open"),
            row("ContactHistory", "history", ContactId="@ada", Field="Email"),
            row("Opportunity", "deal", Name="Deal", StageName="New", CloseDate="2026-01-01"),
            {**row("Contact", "gone", LastName="Gone"), "deleted": True},
        )
        yield client


def _patch(client: OrgClient, kind: str, ref: str, **fields: Any) -> tuple[int, str | None]:
    answer = client.call("PATCH", f"/sobjects/{kind}/{client.id(ref)}", json=fields)
    return answer.status_code, answer.json()[0]["errorCode"] if answer.content else None


@pytest.mark.parametrize(
    ("kind", "ref", "fields", "code"),
    [
        ("Contact", "ada", {"Nope": 1}, "INVALID_FIELD"),
        ("Contact", "ada", {"Id": "x"}, "INVALID_FIELD"),
        ("Contact", "ada", {"CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Contact", "ada", {"Name": "x"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Contact", "ada", {"LastName": None}, "REQUIRED_FIELD_MISSING"),
        ("Contact", "ada", {"LastName": ""}, "REQUIRED_FIELD_MISSING"),
        ("Contact", "ada", {"LastName": "x" * 81}, "STRING_TOO_LONG"),
        ("Contact", "ada", {"Email": "erased"}, "INVALID_EMAIL_ADDRESS"),
        ("Contact", "ada", {"Email": 5}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Contact", "ada", {"Birthdate": "01.02.2026"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Contact", "ada", {"DoNotCall": "yes"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Contact", "ada", {"DoNotCall": None}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Contact", "ada", {"Customer_Number__c": "C-1"}, "DUPLICATE_VALUE"),
        ("Contact", "ada", {"Title": "anonymous"}, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        ("Contact", "ada", {"ReportsToId": "nonsense"}, "MALFORMED_ID"),
        ("Contact", "ada", {"ReportsToId": "0035g00000zzzzzAAA"}, "INVALID_CROSS_REFERENCE_KEY"),
        ("Contact", "ada", {"ReportsToId": "@zoe"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Contact", "ada", {"ReportsToId": "@gone"}, "ENTITY_IS_DELETED"),
        ("Contact", "gone", {"LastName": "x"}, "ENTITY_IS_DELETED"),
        ("Contact", "zoe:contact", {"LastName": "x"}, "INSUFFICIENT_ACCESS_OR_READONLY"),
        ("Lead", "converted", {"LastName": "x"}, "CANNOT_UPDATE_CONVERTED_LEAD"),
        ("EmailMessage", "sent", {"FromAddress": "erased@example.test"}, "INSUFFICIENT_ACCESS_OR_READONLY"),
        ("EmailMessage", "draft", {"Status": "9"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("ContactHistory", "history", {"OldValue": None}, "INVALID_TYPE_FOR_OPERATION"),
        ("Opportunity", "deal", {"Amount": "12"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
    ],
)
def test_refuses_what_a_field_does_not_take(
    org: OrgClient, kind: str, ref: str, fields: dict[str, Any], code: str
) -> None:
    before = org.sandbox.records()
    told = {k: org.id(v[1:]) if isinstance(v, str) and v.startswith("@") else v for k, v in fields.items()}
    assert _patch(org, kind, ref, **told)[1] == code
    assert org.sandbox.records() == before


def test_takes_what_a_field_takes() -> None:
    with opened() as client:
        client.seed(
            row("Contact", "ada", FirstName="Ada", LastName="Lovelace", Email="ada@example.test", Phone="1"),
            row("EmailMessage", "sent", Status="3"),
            row("Account", "zoe", IsPersonAccount=True, LastName="Zoe", PersonEmail="zoe@example.test"),
            row("Case", "case", ContactId="@ada", Status="New"),
        )
        assert _patch(client, "Contact", "ada", email=None, Phone="", LastName="Erased", DoNotCall=True)[0] == 204
        assert _patch(client, "EmailMessage", "sent", IsExternallyVisible=False)[0] == 204
        assert _patch(client, "Account", "zoe", PersonEmail=None, LastName="Erased")[0] == 204
        ada = client.call("GET", f"/sobjects/Contact/{client.id('ada')}?fields=Name,Email,Phone,DoNotCall").json()
        assert (ada["Name"], ada["Email"], ada["Phone"], ada["DoNotCall"]) == ("Ada Erased", None, None, True)
        assert client.sandbox.residue({"zoe@example.test", "ada@example.test"}) == [], "copies follow"


def test_collections_answer_row_by_row_and_roll_back(org: OrgClient) -> None:
    def change(ref: str, **fields: Any) -> dict[str, Any]:
        return {"attributes": {"type": "Contact"}, "id": org.id(ref), **fields}

    records = [change("ada", Title="Dr"), change("bob", Email="no address")]
    rows = org.call("PATCH", "/composite/sobjects", json={"records": records}).json()
    assert [r["success"] for r in rows] == [True, False]
    assert org.ids("SELECT Id FROM Contact WHERE Title = 'Dr'") == [org.id("ada")]

    records[0]["Title"] = "Prof"
    rows = org.call("PATCH", "/composite/sobjects", json={"records": records, "allOrNone": True}).json()
    assert [r["errors"][0]["statusCode"] for r in rows] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_EMAIL_ADDRESS",
    ]
    assert org.ids("SELECT Id FROM Contact WHERE Title = 'Prof'") == []

    many = [change("ada", Title="x")] * 201
    answer = org.call("PATCH", "/composite/sobjects", json={"records": many})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    bare = [{"id": org.id("ada"), "Title": "x"}]
    assert org.call("PATCH", "/composite/sobjects", json={"records": bare}).json()[0]["success"] is False


def test_creates_with_required_fields_only(org: OrgClient) -> None:
    missing = org.call("POST", "/sobjects/Individual", json={"FirstName": "x"})
    assert (missing.status_code, missing.json()[0]["errorCode"]) == (400, "REQUIRED_FIELD_MISSING")
    made = org.call("POST", "/sobjects/Individual", json={"LastName": "Erased", "ShouldForget": True})
    assert (made.status_code, made.json()["success"]) == (201, True)
    assert org.ids("SELECT Id FROM Individual WHERE ShouldForget = true AND Name = 'Erased'") == [made.json()["id"]]
    assert org.call("POST", "/sobjects/ContactHistory", json={}).status_code == 400


def test_who_leaves_a_task_leaves_its_relation_too() -> None:
    with opened() as client:
        client.seed(
            row("Contact", "ada", LastName="Ada"),
            row("Task", "task", WhoId="@ada", Status="Open"),
            row("TaskRelation", "relation", TaskId="@task", RelationId="@ada"),
        )
        assert _patch(client, "Task", "task", WhoId=None)[0] == 204
        assert client.ids("SELECT Id FROM TaskRelation") == []


def _at_once(client: OrgClient, *refs: str) -> list[str]:
    results: list[str] = []
    threads = [threading.Thread(target=lambda r=ref: results.extend(client.codes(r))) for ref in refs]  # type: ignore[misc]  # bound now
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def test_calls_at_once_under_one_account_lock_each_other_out_and_others_do_not() -> None:
    with opened() as client:
        client.seed(
            *(row("Account", f"a{n}", Name="x") for n in range(3)),
            *(row("Contact", f"c{n}", LastName="x", AccountId=f"@a{n % 3}") for n in range(4)),
            *(row("Task", f"t{n}", WhoId=f"@c{n}", Status="Open") for n in range(4)),
        )
        client.sandbox.latency_seconds = 1.0
        assert _at_once(client, "t0", "t3") == ["UNABLE_TO_LOCK_ROW", "ok"]
        assert _at_once(client, "t1", "c2") == ["ok", "ok"]
        client.sandbox.latency_seconds = 0.0
        assert sorted([*client.codes("t0"), *client.codes("t3")]) == ["ENTITY_IS_DELETED", "ok"], (
            "the loser may try again"
        )
