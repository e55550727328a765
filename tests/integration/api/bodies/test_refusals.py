"""A refusal names the field, the reason and what is allowed there, and repeats no value that was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.field_errors import field_names
from service.api.schemas import ListQuery, SubmitBody
from service.domain.requests.holds import HoldReason
from tests.integration.api.bodies.sent_imports import AT, CSV, read, send
from tests.integration.api.conftest import EMAIL, Office

KINDS = ["anonymous_id", "customer_id", "email", "phone", "zendesk_user_id"]
NAMES = ["kind", "regime", "identifiers", "received_at", "external_reference", "scopes"]


def errors(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    found: list[dict[str, Any]] = answer.json()["errors"]
    return found


# --- values from a list -----------------------------------------------------------------------------------------------


def test_a_refused_hold_names_allowed_values_and_its_effect(office: Office) -> None:
    identifiers = [{"kind": "email", "value": EMAIL}]

    answer = office.call("POST", "/v1/holds", {"identifiers": identifiers, "reason": "litigations"})

    assert errors(answer) == [
        {
            "field": "/reason",
            "reason": "enum",
            "allowed": [reason.value for reason in HoldReason],
            "did_you_mean": "litigation",
        }
    ]
    assert answer.json()["detail"] == "no hold was placed, and the work on the person continues"
    assert office.rows("SELECT 1 FROM holds") == []


def test_each_refusal_of_a_hold_says_that_nothing_is_held(office: Office) -> None:
    identifiers = [{"kind": "emial", "value": EMAIL}]
    for body in ({}, {"identifiers": identifiers, "reason": "litigation"}, {"identifiers": [], "reason": "litigation"}):
        answer = office.call("POST", "/v1/holds", body)
        assert answer.json()["detail"].endswith("no hold was placed, and the work on the person continues"), body


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "allowed", "near"),
    [
        ("GET", "/v1/requests?state=opened", None, "query/state", "in_progress", "open"),
        ("GET", "/v1/requests?regime=gdrp", None, "query/regime", "ccpa", "gdpr"),
        ("GET", "/v1/steps?state=park", None, "query/state", "parked", "parked"),
        ("GET", "/v1/audit/export?format=jsn", None, "query/format", "parquet", "jsonl"),
        ("DELETE", f"/v1/holds/{'0' * 8}-0000-4000-8000-{'0' * 12}?reason=x", None, "query/reason", "lapsed", None),
        ("POST", "/v1/requests", {"kind": "erase"}, "/kind", "erasure", "erasure"),
        ("POST", f"/v1/requests/{'0' * 8}-0000-4000-8000-{'0' * 12}/deny", {"reason": "fraud"}, "/reason", None, None),
    ],
)
def test_allowed_values_are_named_for_each_listed_value(
    office: Office, method: str, path: str, body: Any, field: str, allowed: str | None, near: str | None
) -> None:
    (error,) = [each for each in errors(office.call(method, path, body)) if each["field"] == field]
    assert error["reason"] in ("enum", "literal_error")
    assert len(error["allowed"]) > 1
    assert near is None or error["did_you_mean"] == near
    if allowed is not None and near is not None:
        assert allowed in error["allowed"]


def test_bounds_and_forms_are_said(office: Office) -> None:
    said = {
        each["field"]: each["expected"]
        for each in errors(
            office.call(
                "POST",
                "/v1/requests",
                office.submission(external_reference="a b", received_at="yesterday") | {"identifiers": []},
            )
        )
    }
    assert said == {
        "/external_reference": "matches ^[A-Za-z0-9_-]{1,64}$",
        "/received_at": "an RFC 3339 date-time with an offset, such as 2026-07-04T09:30:00Z",
        "/identifiers": "at least 1 items",
    }
    assert errors(office.call("GET", "/v1/requests?limit=500"))[0]["expected"] == "200 or less"


# --- unknown names ----------------------------------------------------------------------------------------------------


def test_an_unknown_field_is_named_with_the_nearest_allowed_one(office: Office) -> None:
    body = office.submission()
    body["externalReference"] = body["identifers"] = 1
    body["identifiers"][0]["verfication"] = None

    found = errors(office.call("POST", "/v1/requests", body))

    assert {each["field"]: each.get("did_you_mean") for each in found} == {
        "/externalReference": "external_reference",
        "/identifers": "identifiers",
        "/identifiers/0/verfication": "verification",
    }
    assert [each["allowed"] for each in found if each["field"] == "/identifers"] == [NAMES]


@pytest.mark.parametrize(
    "name",
    [EMAIL, "+12025550147", "4111111111111111", "https://example.test/ada", "ada lovelace", "x" * 41, "\u202e", ""],
)
def test_a_name_that_may_be_a_value_is_not_repeated(office: Office, name: str) -> None:
    body = office.submission()
    body["identifiers"][0][name] = 1

    answer = office.call("POST", "/v1/requests", body)
    asked = office.call("GET", "/v1/requests", params={name: "1"})

    assert [(each["field"], each["allowed"]) for each in errors(answer)] == [
        ("/identifiers/0", ["kind", "value", "verification"])
    ]
    assert errors(asked)[0]["field"] == "query"
    assert not name or name not in answer.text + asked.text


def test_of_thousands_of_unknown_names_a_few_are_told(office: Office) -> None:
    """Each costs a search for the nearest name, and would be told with all that are allowed."""
    names = ["x" * (1 + n % 12) + "".join("abcdefghij"[int(digit)] for digit in str(n)) for n in range(3000)]
    body = office.submission() | dict.fromkeys(names, 1)

    told = [
        office.call("POST", "/v1/requests", body),
        office.call("GET", "/v1/requests", params=dict.fromkeys(names[:500], "1")),
        send(office, ",".join(names) + "\n", media_type=CSV),
    ]
    verdicts, _ = read(send(office, json.dumps(body)))

    assert [len(errors(answer)) <= 25 for answer in told] == [True] * 3
    assert len(verdicts[0]["problem"]["errors"]) <= 20


def test_an_unknown_parameter_is_refused_by_every_operation(office: Office) -> None:
    described = office.call("GET", "/openapi.json").json()["paths"]
    some_id = "00000000-0000-4000-8000-000000000000"
    asked = 0
    for path, methods in described.items():
        for method, operation in methods.items():
            if not operation["security"]:
                continue
            filled = path.replace("{system}", "support").replace("{name}", "metrics")
            for parameter in ("request_id", "hold_id", "import_id", "step_id"):
                filled = filled.replace(f"{{{parameter}}}", some_id)
            answer = office.call(method.upper(), filled, {}, params={"dry_run": "true"})
            (error,) = [each for each in errors(answer) if each["field"] == "query/dry_run"]
            assert error["reason"] == "extra_forbidden"
            assert "422" in operation["responses"], path
            asked += 1
    assert asked > 25


def test_a_parameter_has_a_suggestion(office: Office) -> None:
    (error,) = errors(office.call("GET", "/v1/requests?external_refrence=case-1"))

    assert (error["field"], error["did_you_mean"]) == ("query/external_refrence", "external_reference")
    assert tuple(error["allowed"]) == field_names(ListQuery)


def test_names_are_found_at_every_depth() -> None:
    assert field_names(SubmitBody) == tuple(NAMES)
    assert field_names(SubmitBody, ["identifiers", 3, "verification"]) == ("method", "verified_at")
    assert field_names(SubmitBody, ["identifiers", 0]) == ("kind", "value", "verification")
    assert field_names(SubmitBody, ["nowhere", 0]) == ()


# --- identifier kinds -------------------------------------------------------------------------------------------------


def test_an_unknown_kind_is_refused_with_the_known_ones(office: Office) -> None:
    identifier = {"kind": "emial", "value": EMAIL}
    for path, body, field in (
        ("/v1/requests", office.submission() | {"identifiers": [identifier]}, "/identifiers/0/kind"),
        ("/v1/holds", {"identifiers": [identifier], "reason": "litigation"}, "/identifiers/0/kind"),
        ("/v1/requests/lookup", {"identifier": identifier}, "/identifier/kind"),
    ):
        answer = office.call("POST", path, body)
        assert answer.json()["code"] == "unknown_kind"
        assert errors(answer) == [
            {"field": field, "reason": "unknown_kind", "allowed": KINDS, "did_you_mean": "email"}
        ], path
    assert office.rows("SELECT 1 FROM requests UNION ALL SELECT 1 FROM holds") == []


def test_an_unknown_kind_or_field_refuses_its_line_only(office: Office) -> None:
    good = office.submission(received_at=AT)
    strange = office.submission(received_at=AT) | {"identifiers": [{"kind": "emial", "value": EMAIL}]}
    misnamed, personal = good | {"externalreference": "a"}, good | {"ada_lovelace": 1}

    answer = send(office, "\n".join(map(json.dumps, [strange, misnamed, personal, good])))
    verdicts, last = read(answer)
    refused = office.call("GET", f"/v1/imports/{last['import']}/refused").json()["lines"]

    assert [each["status"] for each in verdicts] == ["refused", "refused", "refused", "accepted"]
    (first,), (second,), (third,) = (each["problem"]["errors"] for each in verdicts[:3])
    assert (first["field"], first["did_you_mean"], first["allowed"]) == ("/identifiers/0/kind", "email", KINDS)
    assert (second["field"], second["did_you_mean"]) == ("/externalreference", "external_reference")
    assert (third["field"], third["allowed"]) == ("", NAMES)
    assert [each["errors"][0]["did_you_mean"] for each in refused] == ["email", "external_reference", None]
    assert "lovelace" not in answer.text + str(office.rows("SELECT * FROM import_refusals"))


def test_an_unknown_column_is_refused_before_anything_is_taken(office: Office) -> None:
    header = f"kind,regime,recieved_at,identifier.emial,identifier.email,{EMAIL}\n"
    answer = send(office, header + f"erasure,gdpr,{AT},,a@example.test,\n", media_type=CSV)

    found = {each["field"]: each for each in errors(answer)}
    assert found["/columns/3"]["did_you_mean"] == "received_at"
    assert found["/columns/4"]["did_you_mean"] == "identifier.email"
    assert found["/columns/4"]["allowed"] == [f"identifier.{kind}" for kind in KINDS]
    assert found["/columns/6"]["reason"] == "unknown_column"
    assert found["/received_at"]["reason"] == "missing_column"
    assert EMAIL not in answer.text
    assert office.rows("SELECT 1 FROM imports") == []
