"""SOQL in the stand-in: what matches, what is refused and how, and pages that lose nothing to who follows them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simple_salesforce import format_soql

from connectors.salesforce.sandbox.query.soql_parser import Comparison, parse

from ..org_client import BASE, OrgClient, opened, row

THREE_JOINS = (
    "SELECT Id FROM Task WHERE WhoId IN (SELECT Id FROM Lead) AND WhatId IN (SELECT Id FROM Case) "
    "AND AccountId IN (SELECT Id FROM Account)"
)


@pytest.fixture(scope="module")
def org() -> Iterator[OrgClient]:
    with opened() as client:
        client.seed(
            row("Account", "acme", Name="Acme"),
            row("Contact", "ada", FirstName="Ada", LastName="O'Brien", Email="O'Brien@example.test", AccountId="@acme"),
            row("Contact", "bob", FirstName="Bob", LastName="Under_score", Email="bob+tag@example.test"),
            row("Contact", "back", LastName="back\\slash 100%", Phone="+15555550101"),
            {**row("Contact", "loser", LastName="Loser", Email="o'brien@example.test", MasterRecordId="@ada")}
            | {"deleted": True},
            row(
                "Case", "case", ContactId="@ada", AccountId="@acme", Status="New", SuppliedEmail="o'brien@example.test"
            ),
            row("CaseComment", "said", ParentId="@case", CommentBody="hello"),
            row(
                "EmailMessage",
                "mail",
                ParentId="@case",
                Status="3",
                TextBody="hello",
                MessageDate="2026-01-02T03:04:05Z",
            ),
            row("Task", "open", WhoId="@ada", Status="Open", ActivityDate="2026-05-01", WhatId="@case"),
            row("Task", "old", WhoId="@ada", Status="Completed", IsArchived=True, ActivityDate="2020-05-01"),
            row("Opportunity", "deal", Name="Deal", StageName="New", CloseDate="2026-01-01", Amount=12.5),
            row("Order", "order", AccountId="@acme", Status="Draft", EffectiveDate="2026-01-01"),
            row("ContentDocument", "file", Title="Passport"),
            row("ContentDocumentLink", "link", ContentDocumentId="@file", LinkedEntityId="@ada"),
        )
        yield client


@pytest.mark.parametrize(
    ("soql", "refs"),
    [
        (r"SELECT Id FROM Contact WHERE Email = 'o\'brien@EXAMPLE.test'", ["ada", "loser"]),
        (r"SELECT Id FROM Contact WHERE Email = 'o\'brien@example.test' AND IsDeleted = false", ["ada"]),
        (r"SELECT Id FROM Contact WHERE MasterRecordId != null", ["loser"]),
        ("select id from contact where email in ('BOB+tag@example.test', 'none@example.test')", ["bob"]),
        (r"SELECT Id FROM Contact WHERE LastName LIKE 'under\_%'", ["bob"]),
        ("SELECT Id FROM Contact WHERE LastName LIKE '%r_s%'", ["bob"]),
        (r"SELECT Id FROM Contact WHERE LastName = 'back\\slash 100%'", ["back"]),
        ("SELECT Id FROM Contact WHERE Email NOT IN ('bob+tag@example.test') AND IsDeleted = false", ["ada", "back"]),
        ("SELECT Id FROM Contact WHERE Email != 'bob+tag@example.test' AND IsDeleted = false", ["ada", "back"]),
        ("SELECT Id FROM Contact WHERE (NOT Email = null) AND AccountId = null", ["bob", "loser"]),
        (
            "SELECT Id FROM Contact WHERE Account.Name = 'acme' OR (Phone = '+15555550101' AND Email = null)",
            ["ada", "back"],
        ),
        ("SELECT Id FROM Case WHERE ContactId IN (SELECT Id FROM Contact WHERE LastName = 'O\\'Brien')", ["case"]),
        ("SELECT Id FROM Task WHERE What.Type = 'Case'", ["open"]),
        ("SELECT Id FROM Task WHERE ActivityDate < 2026-01-01", ["old"]),
        ("SELECT Id FROM EmailMessage WHERE MessageDate >= 2026-01-02T03:04:05Z", ["mail"]),
        ("SELECT Id FROM Opportunity WHERE Amount > 12 AND Amount <= 12.5", ["deal"]),
        ("SELECT Id FROM Task ORDER BY ActivityDate DESC LIMIT 1", ["open"]),
        ("SELECT Id FROM Task ORDER BY ActivityDate OFFSET 1", ["open"]),
        ("SELECT Id, Account.Name FROM Order ORDER BY Status", ["order"]),
    ],
)
def test_matches_what_salesforce_would(org: OrgClient, soql: str, refs: list[str]) -> None:
    assert org.ids(soql) == [org.id(ref) for ref in refs]


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Nope FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Nope = 'x'", "INVALID_FIELD"),
        ("SELECT Id, Nowhere.Name FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, id FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id, (SELECT Id FROM Nopes) FROM Contact", "INVALID_TYPE"),
        ("SELECT Id FROM ActivityHistory", "INVALID_TYPE_FOR_OPERATION"),
        ("SELECT Id FROM ContactChangeEvent", "INVALID_TYPE_FOR_OPERATION"),
        ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM EmailMessage WHERE TextBody LIKE '%ada%'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Email = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE IsDeleted = 'false'", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE ActivityDate > '2026-01-01'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Id = 'nonsense'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Contact WHERE AccountId LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Contact WHERE Email = 'a' AND Phone = 'b' OR Phone = 'c'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email = 'a' AND NOT Phone = 'b'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email = 'o'brien@example.test'", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Contact WHERE Email = 'a\qb'", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Contact WHERE Email = 'a\_b'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email IN ()", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email = 'a' GROUP BY Email", "MALFORMED_QUERY"),
        ("SELECT COUNT(Id) FROM Contact", "MALFORMED_QUERY"),
        ("SELECT FIELDS(ALL) FROM Contact LIMIT 200", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact ALL ROWS", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE CreatedDate = LAST_N_DAYS:3", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact c", "MALFORMED_QUERY"),
        ("SELECT * FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("SELECT Id FROM ContentDocumentLink", "MALFORMED_QUERY"),
        ("SELECT Id FROM ContentDocumentLink WHERE Visibility = 'x'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Id IN (SELECT Id FROM Contact)", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE ContactId IN (SELECT Email FROM Contact)", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE ContactId IN (SELECT Id FROM Contact LIMIT 1)", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE Status = 'x' OR ContactId IN (SELECT Id FROM Contact)", "MALFORMED_QUERY"),
        (THREE_JOINS, "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS"),
        ("", "MALFORMED_QUERY"),
    ],
)  # fmt: skip
def test_refuses_what_it_does_not_support_and_never_ignores_a_clause(org: OrgClient, soql: str, code: str) -> None:
    answer = org.query(soql)

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_query_hides_deleted_rows_and_archived_activities(org: OrgClient) -> None:
    assert org.ids("SELECT Id FROM Task", everything=False) == [org.id("open")]
    assert org.id("loser") not in org.ids("SELECT Id FROM Contact", everything=False)
    assert org.id("loser") in org.ids("SELECT Id FROM Contact")


def test_links_of_files_are_found_by_either_end(org: OrgClient) -> None:
    soql = "SELECT Id FROM ContentDocumentLink WHERE LinkedEntityId IN ('{}')"
    assert org.ids(soql.format(org.id("ada"))) == [org.id("link")]


def test_shows_parents_and_children_as_salesforce_does(org: OrgClient) -> None:
    soql = "SELECT Id, Account.Name, ReportsTo.Name, (SELECT Id, (SELECT Id FROM CaseComments) FROM Cases) FROM Contact"
    ada, bob = org.query(f"{soql} WHERE FirstName IN ('Ada', 'Bob')").json()["records"]

    assert ada["attributes"] == {"type": "Contact", "url": f"{BASE}/sobjects/Contact/{ada['Id']}"}
    assert ada["Account"]["Name"] == "Acme"
    assert ada["ReportsTo"] is None
    assert ada["Cases"]["records"][0]["CaseComments"]["records"][0]["Id"] == org.id("said")
    assert bob["Cases"] is None


def test_a_count_has_a_number_and_no_rows(org: OrgClient) -> None:
    assert org.query("SELECT COUNT() FROM Task").json() == {"totalSize": 2, "done": True, "records": []}


def test_old_versions_nest_one_level_only(org: OrgClient) -> None:
    soql = "SELECT Id, (SELECT Id, (SELECT Id FROM CaseComments) FROM Cases) FROM Contact"
    answer = org.http.get("/services/data/v57.0/query", params={"q": soql})
    assert answer.json()[0]["errorCode"] == "MALFORMED_QUERY"


def test_a_statement_is_limited_in_length_and_in_sub_selects(org: OrgClient) -> None:
    subquery = {"method": "GET", "url": f"{BASE}/query?q=SELECT+Id+FROM+Contact+WHERE+Email+IN+('{'a' * 4001}')"}
    assert org.composite({**subquery, "referenceId": "a"})[0]["httpStatusCode"] == 400
    queryable = {o["name"] for o in org.call("GET", "/sobjects").json()["sobjects"] if o["queryable"]}
    rows = org.call("GET", "/sobjects/Contact/describe").json()["childRelationships"]
    named = [r["relationshipName"] for r in rows if r["relationshipName"] and r["childSObject"] in queryable]
    nested = [f"(SELECT Id FROM {name})" for name in named]
    assert len(nested) > 20
    assert org.query(f"SELECT Id, {', '.join(nested[:20])} FROM Contact").status_code == 200
    assert org.query(f"SELECT Id, {', '.join(nested[:21])} FROM Contact").json()[0]["errorCode"] == "MALFORMED_QUERY"


def _followed(client: OrgClient, page: dict[str, Any]) -> list[dict[str, Any]]:
    records = list(page["records"])
    while not page["done"]:
        page = client.http.get(page["nextRecordsUrl"]).json()
        records += page["records"]
    return records


def test_two_thousand_rows_a_page_and_children_count() -> None:
    with opened() as client:
        client.seed(
            *(row("Contact", f"c{n}", LastName=f"c{n}") for n in range(3)),
            *(row("Task", WhoId=f"@c{n % 3}", Status="Open") for n in range(4_500)),
        )
        page = client.query("SELECT Id, (SELECT Id FROM Tasks) FROM Contact").json()
        contacts = _followed(client, page)

        assert len(page["records"]) + sum(len(c["Tasks"]["records"]) for c in page["records"]) == 2_000
        assert page["records"][-1]["Tasks"]["done"] is False
        assert len(contacts) == 3
        tasks = [t["Id"] for c in contacts for t in _followed(client, c["Tasks"])]
        assert len(tasks) == len(set(tasks)) == 4_500


def test_smaller_pages_by_header_and_cursors_that_end_after_two_days() -> None:
    with opened() as client:
        client.seed(*(row("Contact", LastName=f"c{n}") for n in range(450)))
        headers = {"sforce-query-options": "batchSize=1"}
        page = client.call("GET", "/query", params={"q": "SELECT Id FROM Contact"}, headers=headers).json()
        assert (len(page["records"]), page["totalSize"], page["done"]) == (200, 450, False)

        client.sandbox.advance_clock(days=2, seconds=1)
        client.log_in()
        answer = client.http.get(page["nextRecordsUrl"])
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")


def test_hidden_objects_and_fields_are_not_there() -> None:
    with opened(hidden=["Contact.HasOptedOutOfEmail", "CaseHistory"]) as client:
        client.seed(row("Contact", "ada", LastName="Ada"))
        assert client.query("SELECT HasOptedOutOfEmail FROM Contact").json()[0]["errorCode"] == "INVALID_FIELD"
        path = "SELECT Id FROM Case WHERE Contact.HasOptedOutOfEmail = true"
        assert client.query(path).json()[0]["errorCode"] == "INVALID_FIELD", "nor by way of another object"
        assert client.query("SELECT Id FROM CaseHistory").json()[0]["errorCode"] == "INVALID_TYPE"
        describe = client.call("GET", "/sobjects/Contact/describe").json()
        assert "HasOptedOutOfEmail" not in [f["name"] for f in describe["fields"]]
        case = client.call("GET", "/sobjects/Case/describe").json()
        assert "CaseHistory" not in [r["childSObject"] for r in case["childRelationships"]]
        change = {"HasOptedOutOfEmail": True}
        answer = client.call("PATCH", f"/sobjects/Contact/{client.id('ada')}", json=change)
        assert answer.json()[0]["errorCode"] == "INVALID_FIELD"


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40))
def test_any_text_quoted_by_somebody_elses_hand_is_read_as_it_is(text: str) -> None:
    where = parse(format_soql("SELECT Id FROM Contact WHERE Email = {}", text)).where
    assert isinstance(where, Comparison)
    assert where.literal.value == text
