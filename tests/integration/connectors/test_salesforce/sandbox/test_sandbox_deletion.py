"""Deleting in the stand-in: who blocks, what goes along, what only loses its reference, and the recycle bin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..org_client import OrgClient, opened, row

FAMILY = (
    row("Account", "acme", Name="Acme"),
    row("Contact", "ada", "ada", FirstName="Ada", LastName="Lovelace", Email="ada@example.test", AccountId="@acme"),
    row("Contact", "bob", LastName="Bob", ReportsToId="@ada"),
    row("Case", "case", "ada", ContactId="@ada", Status="New", CaseNumber="00001001"),
    row("CaseComment", "said", "ada", ParentId="@case"),
    row("EmailMessage", "mail", "ada", ParentId="@case", Status="3", FromAddress="ada@example.test"),
    row("EmailMessage", "loose", "ada", RelatedToId="@acme", Status="3", FromAddress="ada@example.test"),
    row("EmailMessageRelation", "rel", "ada", EmailMessageId="@loose", RelationId="@ada"),
    row("Task", "task", "ada", WhoId="@ada", Status="Open"),
    row("ContentDocument", "file", "ada", Title="Passport"),
    row("ContentVersion", "version", "ada", ContentDocumentId="@file", Title="Passport", FirstPublishLocationId="@ada"),
    row("ContentDocumentLink", "link", "ada", ContentDocumentId="@file", LinkedEntityId="@ada"),
)


@pytest.fixture
def org() -> Iterator[OrgClient]:
    with opened() as client:
        client.seed(*FAMILY)
        yield client


def _live(client: OrgClient, ref: str) -> bool:
    found = client.sandbox.store.row(client.id(ref))
    return found is not None and not found["IsDeleted"]


def test_a_contact_with_a_case_cannot_be_deleted_and_nothing_changes(org: OrgClient) -> None:
    before = org.sandbox.records()

    answer = org.call("DELETE", f"/sobjects/Contact/{org.id('ada')}")

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "DELETE_FAILED")
    assert "00001001" in answer.json()[0]["message"]
    assert org.sandbox.records() == before


def test_a_cascade_is_blocked_by_what_restricts_further_down(org: OrgClient) -> None:
    assert org.codes("acme") == ["DELETE_FAILED"]
    assert org.codes("case", "acme") == ["ok", "ok"]
    assert not _live(org, "ada"), "an account takes its contacts along"


def test_what_goes_along_what_survives_and_what_is_only_cleared(org: OrgClient) -> None:
    assert org.codes("case", "ada") == ["ok", "ok"]

    assert [_live(org, ref) for ref in ("said", "mail", "task", "rel", "link")] == [False] * 5
    assert [_live(org, ref) for ref in ("loose", "file", "version", "bob", "acme")] == [True] * 5
    bob = org.call("GET", f"/sobjects/Contact/{org.id('bob')}").json()
    assert bob["ReportsToId"] is None


def test_a_file_goes_with_its_links_and_versions_and_versions_not_by_themselves(org: OrgClient) -> None:
    assert org.codes("version") == ["INVALID_TYPE_FOR_OPERATION"]
    assert org.codes("file") == ["ok"]
    assert [_live(org, ref) for ref in ("file", "link", "version")] == [False] * 3


@pytest.mark.parametrize(
    ("status", "codes"), [("Draft", ["ok"]), ("Activated", ["DELETE_FAILED"])], ids=["draft", "activated"]
)
def test_a_relation_with_both_flags_blocks_when_activated(org: OrgClient, status: str, codes: list[str]) -> None:
    org.seed(
        row("Account", "shop", Name="Shop"),
        row("Order", AccountId="@shop", Status=status, StatusCode=status, EffectiveDate="2026-01-01"),
    )
    assert org.codes("shop") == codes


def test_an_unnamed_restricting_relation_blocks_too(org: OrgClient) -> None:
    org.seed(row("Order", "order", BillToContactId="@bob", Status="Draft", EffectiveDate="2026-01-01"))
    assert org.codes("bob") == ["DELETE_FAILED"]
    answer = org.call("PATCH", f"/sobjects/Order/{org.id('order')}", json={"BillToContactId": None})
    assert answer.status_code == 204, answer.text
    assert org.codes("bob") == ["ok"]
    assert _live(org, "order")


def test_a_portal_user_blocks_until_disabled_and_is_never_deleted(org: OrgClient) -> None:
    org.seed(
        row("User", "portal", Username="bob@example.test", Email="bob@example.test", LastName="Bob", ContactId="@bob")
        | {"person": "bob"}
    )
    assert org.codes("portal", "bob") == ["INVALID_TYPE_FOR_OPERATION", "DELETE_FAILED"]
    assert org.call("PATCH", f"/sobjects/User/{org.id('portal')}", json={"IsActive": False}).status_code == 204
    assert org.codes("bob") == ["DELETE_FAILED"], "an inactive portal user still hangs on the contact"
    assert org.call("PATCH", f"/sobjects/User/{org.id('portal')}", json={"IsPortalEnabled": False}).status_code == 204
    assert org.codes("bob") == ["ok"]


def test_a_person_account_is_deleted_by_its_account_and_blocked_by_its_contact() -> None:
    with opened() as client:
        client.seed(
            row("Account", "zoe", "zoe", IsPersonAccount=True, LastName="Zoë", PersonEmail="zoë@example.test"),
            row("Case", "case", "zoe", ContactId="@zoe:contact", Status="New"),
        )
        found = client.query("SELECT Id, Name, (SELECT Id FROM PersonCases) FROM Account WHERE PersonEmail != null")
        assert [c["Id"] for c in found.json()["records"][0]["PersonCases"]["records"]] == [client.id("case")]
        assert client.ids("SELECT Id FROM Contact WHERE Email = 'ZOË@example.test'") == [client.id("zoe:contact")]
        assert client.codes("zoe:contact", "zoe") == ["INSUFFICIENT_ACCESS_OR_READONLY", "DELETE_FAILED"]
        assert client.codes("case", "zoe") == ["ok", "ok"]
        assert not _live(client, "zoe:contact")


def test_gone_deleted_unknown_and_malformed_ids_are_told_apart(org: OrgClient) -> None:
    org.codes("case")
    ids = [org.id("case"), "5005g00000ZZZZZAAA", "nonsense"]
    rows = org.call("DELETE", "/composite/sobjects", params={"ids": ",".join(ids)}).json()
    assert [r["errors"][0]["statusCode"] for r in rows[:1]] == ["ENTITY_IS_DELETED"]
    assert {r["errors"][0]["statusCode"] for r in rows[1:]} <= {"INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID"}
    answer = org.call("DELETE", f"/sobjects/Case/{org.id('case')}")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")
    assert org.call("DELETE", f"/sobjects/Case/{org.id('ada')}").status_code == 404


def test_all_or_none_takes_everything_back(org: OrgClient) -> None:
    before = org.sandbox.records()

    codes = org.codes("case", "acme", "version", all_or_none=True)

    assert codes == [*["ALL_OR_NONE_OPERATION_ROLLED_BACK"] * 2, "INVALID_TYPE_FOR_OPERATION"]
    assert org.sandbox.records() == before
    soql = f"SELECT Id FROM CaseComment WHERE ParentId = '{org.id('case')}'"
    assert org.ids(soql, everything=False) == [org.id("said")], "the look-ups are back too"
    assert org.codes("case", "acme") == ["ok", "ok"]


def test_trouble_by_option_hits_one_record_only(org: OrgClient) -> None:
    org.seed(*(row("Note", f"n{n}", ParentId="@bob", Title="x") for n in range(5)))
    options: dict[str, Any] = {
        "vetoes": {org.id("n0"): "FIELD_CUSTOM_VALIDATION_EXCEPTION"},
        "locked": [org.id("n1")],
        "too_large": [org.id("n2")],
        "lock_conflicts": {org.id("n3"): 1},
    }
    org.sandbox.options.update(options)

    assert org.codes("n0", "n1", "n2", "n3", "n4") == [
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "ENTITY_IS_LOCKED",
        "DELETE_OPERATION_TOO_LARGE",
        "UNABLE_TO_LOCK_ROW",
        "ok",
    ]
    assert org.codes("n3") == ["ok"], "a lock conflict passes"


def test_a_cascade_can_be_too_large_and_deleted_children_can_block() -> None:
    with opened(cascade_limit=10) as client:
        client.seed(row("Contact", "ada", LastName="Ada"), *(row("Task", WhoId="@ada") for _ in range(11)))
        assert client.codes("ada") == ["DELETE_OPERATION_TOO_LARGE"]
    with opened(deleted_children_block=True) as client:
        client.seed(*FAMILY)
        assert client.codes("case", "ada") == ["ok", "DELETE_FAILED"]
        assert client.empty_bin(client.id("case")).status_code == 200
        assert client.codes("ada") == ["ok"]


def test_two_hundred_ids_ten_changes_of_object_and_no_id_twice(org: OrgClient) -> None:
    ids = [f"0035g00000{n:05d}" for n in range(201)]
    answer = org.call("DELETE", "/composite/sobjects", params={"ids": ",".join(ids)})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    mixed = [f"{('003', '500')[n % 2]}5g00000{n:05d}" for n in range(11)]
    assert org.call("DELETE", "/composite/sobjects", params={"ids": ",".join(mixed)}).status_code == 400
    assert org.call("DELETE", "/composite/sobjects", params={"ids": ",".join(sorted(mixed))}).status_code == 200
    assert org.call("DELETE", "/composite/sobjects", params={"ids": f"{ids[0]},{ids[0]}"}).status_code == 400


def test_a_shared_activity_goes_with_its_first_person_unless_the_relation_goes_first() -> None:
    with opened() as client:
        client.seed(
            *(row("Contact", name, name, LastName=name) for name in ("ada", "bob")),
            *(row("Task", task, WhoId="@ada", Status="Open") for task in ("lost", "kept")),
            *(
                row("TaskRelation", f"{task}-{name}", name, TaskId=f"@{task}", RelationId=f"@{name}", IsWhat=False)
                for task in ("lost", "kept")
                for name in ("ada", "bob")
            ),
        )
        assert client.codes("kept-ada") == ["ok"]
        task = client.call("GET", f"/sobjects/Task/{client.id('kept')}").json()
        assert task["WhoId"] == client.id("bob")
        assert client.ids(f"SELECT Id FROM TaskRelation WHERE TaskId = '{client.id('kept')}'") == [
            client.id("kept-bob")
        ]
        assert client.codes("ada") == ["ok"]
        assert [_live(client, ref) for ref in ("lost", "kept", "lost-bob")] == [False, True, False]


def test_the_recycle_bin_keeps_fifteen_days(org: OrgClient) -> None:
    org.codes("case", "ada")
    org.sandbox.advance_clock(days=14, hours=23)
    org.log_in()
    assert org.id("ada") in org.ids("SELECT Id FROM Contact")
    assert org.sandbox.residue({"ADA@example.test"})

    org.sandbox.advance_clock(hours=2)
    assert org.sandbox.store.row(org.id("ada")) is not None, "nothing happens before somebody looks"
    org.log_in()
    assert org.id("ada") not in org.ids("SELECT Id FROM Contact")
    assert {r["object"] for r in org.sandbox.residue({"ada@example.test"})} == {"EmailMessage"}


def test_emptying_the_bin_takes_top_rows_and_all_that_went_with_them(org: OrgClient) -> None:
    org.codes("case", "ada")

    answer = org.empty_bin(org.id("task"), org.id("ada"), org.id("acme"), org.id("ada"), "nonsense")

    assert answer.status_code == 200
    assert answer.text.count("<success>true</success>") == 1
    assert answer.text.count("<statusCode>INVALID_ID_FIELD</statusCode>") == 3
    assert answer.text.count("<statusCode>MALFORMED_ID</statusCode>") == 1
    assert org.ids(f"SELECT Id FROM Contact WHERE Id = '{org.id('ada')}'") == []
    assert org.ids(f"SELECT Id FROM Task WHERE Id = '{org.id('task')}'") == []
    assert org.id("case") in org.ids("SELECT Id FROM Case"), "the case was deleted by itself"


def test_purged_rows_stay_visible_to_query_all_for_confirm_after() -> None:
    with opened(confirm_after=3_600) as client:
        client.seed(*FAMILY)
        client.codes("case", "ada")
        client.empty_bin(client.id("ada"), client.id("case"))
        assert client.id("ada") in client.ids("SELECT Id FROM Contact WHERE IsDeleted = true")
        assert "INVALID_ID_FIELD" in client.empty_bin(client.id("ada")).text, "it is in the bin no more"
        client.sandbox.advance_clock(hours=1)
        client.log_in()
        assert client.id("ada") not in client.ids("SELECT Id FROM Contact")


def test_soap_takes_200_ids_a_live_session_and_the_right_to_modify_all_data(org: OrgClient) -> None:
    many = org.empty_bin(*[org.id("ada")] * 201)
    assert (many.status_code, "EXCEEDED_ID_LIMIT" in many.text) == (500, True)
    stale = org.empty_bin(org.id("ada"), token="00D!stale")
    assert (stale.status_code, "INVALID_SESSION_ID" in stale.text) == (500, True)
    org.sandbox.options["permissions"] = {"modify_all_data": False}
    assert "INSUFFICIENT_ACCESS" in org.empty_bin(org.id("ada")).text


def test_get_deleted_lists_what_went_to_the_bin(org: OrgClient) -> None:
    org.codes("case")
    span = {"start": "2020-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    found = org.call("GET", "/sobjects/Case/deleted", params=span).json()["deletedRecords"]
    assert [r["id"] for r in found] == [org.id("case")]
