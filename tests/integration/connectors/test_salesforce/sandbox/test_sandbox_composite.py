"""Several calls in one: the limits of 25 and 5, references between subrequests, and all or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..org_client import BASE, OrgClient, opened, row


@pytest.fixture
def org() -> Iterator[OrgClient]:
    with opened() as client:
        client.seed(
            row("Contact", "ada", LastName='Ada "the first"', Email="ada@example.test"),
            row("Case", "case", ContactId="@ada", Status="New"),
        )
        yield client


def part(method: str, path: str, name: str, **more: Any) -> dict[str, Any]:
    return {"method": method, "url": BASE + path, "referenceId": name, **more}


def _query(name: str) -> dict[str, Any]:
    return part("GET", "/queryAll?q=SELECT+Id,LastName+FROM+Contact", name)


def test_twenty_five_subrequests_of_which_five_queries_or_collections(org: OrgClient) -> None:
    describes = [part("GET", "/sobjects/Contact/describe", f"d{n}") for n in range(26)]
    collections = [part("DELETE", f"/composite/sobjects?ids={org.id('case')}", f"c{n}") for n in range(3)]
    queries = [_query(f"q{n}") for n in range(3)]

    assert [a["httpStatusCode"] for a in org.composite(*describes[:20], *queries, *collections[:2])] == [200] * 25
    for refused in (describes, [*queries, *collections]):
        (answer,) = org.composite(*refused)
        assert (answer["httpStatusCode"], answer["body"][0]["errorCode"]) == (400, "LIMIT_EXCEEDED")
        assert answer["referenceId"] is None


def test_a_refusal_of_the_whole_changes_nothing(org: OrgClient) -> None:
    delete = part("DELETE", f"/sobjects/Case/{org.id('case')}", "gone")
    org.composite(delete, *(_query(f"q{n}") for n in range(6)))
    assert org.ids("SELECT Id FROM Case WHERE IsDeleted = false") == [org.id("case")]


def test_the_whole_is_one_call_of_the_day_and_runs_in_order(org: OrgClient) -> None:
    before = org.sandbox.state["api_calls"]
    answers = org.composite(
        part("DELETE", f"/composite/sobjects?ids={org.id('case')}", "first"),
        part("DELETE", f"/composite/sobjects?ids={org.id('ada')}", "second"),
        _query("third"),
    )
    assert [a["body"][0]["success"] for a in answers[:2]] == [True, True]
    assert answers[2]["body"]["totalSize"] == 1
    assert org.sandbox.state["api_calls"] == before + 1


def test_values_of_earlier_answers_are_filled_in(org: OrgClient) -> None:
    answers = org.composite(
        _query("found"),
        part(
            "PATCH", "/sobjects/Contact/@{found.records[0].Id}", "set", body={"Title": "@{found.records[0].LastName}"}
        ),
        part("GET", "/sobjects/Contact/@{found.records[0].Id}?fields=Title", "got"),
        part("GET", "/sobjects/Contact/@{found.records[7].Id}", "lost"),
    )
    assert [a["httpStatusCode"] for a in answers] == [200, 204, 200, 400]
    assert answers[2]["body"]["Title"] == 'Ada "the first"'
    assert answers[3]["body"][0]["errorCode"] == "PROCESSING_HALTED"


def test_one_refused_subrequest_stops_the_others_only_under_all_or_none(org: OrgClient) -> None:
    parts = (
        part("PATCH", f"/sobjects/Contact/{org.id('ada')}", "changed", body={"Title": "Countess"}),
        part("DELETE", f"/sobjects/Contact/{org.id('ada')}", "blocked"),
        part("GET", "/sobjects/Contact/describe", "after"),
    )
    answers = org.composite(*parts, all_or_none=True)
    assert [a["httpStatusCode"] for a in answers] == [400, 400, 400]
    assert [a["body"][0]["errorCode"] for a in answers] == ["PROCESSING_HALTED", "DELETE_FAILED", "PROCESSING_HALTED"]
    assert org.ids("SELECT Id FROM Contact WHERE Title = 'Countess'") == []

    assert [a["httpStatusCode"] for a in org.composite(*parts)] == [204, 400, 200]
    assert org.ids("SELECT Id FROM Contact WHERE Title = 'Countess'") == [org.id("ada")]


def test_a_partial_failure_hides_in_two_layers_of_200(org: OrgClient) -> None:
    ids = f"{org.id('ada')},{org.id('case')}"
    answer = org.call(
        "POST", "/composite", json={"compositeRequest": [part("DELETE", f"/composite/sobjects?ids={ids}", "d")]}
    )
    (outer,) = answer.json()["compositeResponse"]
    assert (answer.status_code, outer["httpStatusCode"]) == (200, 200)
    assert [r["success"] for r in outer["body"]] == [False, True]


@pytest.mark.parametrize(
    "refused",
    [
        {"method": "PUT", "url": f"{BASE}/sobjects/Contact/x", "referenceId": "a"},
        {"method": "GET", "url": f"{BASE}/limits", "referenceId": "a"},
        {"method": "GET", "url": "/services/data/v50.0/sobjects/Contact/describe", "referenceId": "a"},
        {"method": "GET", "url": "https://elsewhere.example/", "referenceId": "a"},
        {"method": "GET", "url": f"{BASE}/sobjects/Contact/describe", "referenceId": "not allowed"},
        {"method": "GET", "url": f"{BASE}/sobjects/Contact/describe", "referenceId": "a", "body": {}},
        {"method": "GET", "url": f"{BASE}/sobjects/Contact/describe", "referenceId": "a", "extra": 1},
    ],
)
def test_refuses_subrequests_of_another_form(org: OrgClient, refused: dict[str, Any]) -> None:
    assert org.composite(refused)[0]["httpStatusCode"] == 400


def test_long_queries_travel_in_the_body_and_not_in_the_address(org: OrgClient) -> None:
    ids = ",".join(f"'0035g00000{n:05d}'" for n in range(4_000))
    soql = f"SELECT Id FROM Contact WHERE Id IN ('{org.id('ada')}',{ids})"
    assert org.query(f"{soql[:20_000]}')").status_code == 414
    answer = org.composite(part("GET", f"/queryAll?q={soql.replace(' ', '+')}", "q"))[0]
    assert [r["Id"] for r in answer["body"]["records"]] == [org.id("ada")]
    too_long = soql.replace("IN (", "IN (" + "'0035g0000000001'," * 2_000)
    answer = org.composite(part("GET", f"/queryAll?q={too_long.replace(' ', '+')}", "q"))[0]
    assert answer["body"][0]["errorCode"] == "MALFORMED_QUERY"
