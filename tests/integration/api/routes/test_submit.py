"""POST /v1/requests: accepted durably, or refused with nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import Client
from pydantic import SecretStr

from service.api.app import create_app
from service.requests.intake import duplicates as read_before
from service.settings import BrokerSettings
from tests.integration.api.conftest import EMAIL, Office, serving


def test_a_submission_is_accepted_and_can_be_followed(office: Office) -> None:
    answer = office.call("POST", "/v1/requests", office.submission(external_reference="case-2041"))

    assert answer.status_code == 202
    receipt = answer.json()
    assert answer.headers["Location"] == f"/v1/requests/{receipt['id']}"
    assert "replayed" not in receipt
    shown = office.call("GET", answer.headers["Location"]).json()
    assert shown["state"] == "open"
    assert shown["external_reference"] == "case-2041"
    (identifier,) = shown["identifiers"]
    assert identifier["masked"] == "a***@e***.test #1"
    assert identifier["verification"]["method"] == "email_link"
    assert EMAIL not in answer.text + str(shown)
    assert office.events(receipt["id"])[0][:2] == ("request_submitted", f"key:{office.key.id}")


def test_accepting_needs_no_broker(office: Office) -> None:
    settings = replace(office.settings, broker=BrokerSettings(url=SecretStr("redis://127.0.0.1:9/0")))
    headers = {"Authorization": f"Bearer {office.key.token}"}
    with serving(create_app(office.stores, settings)) as url, Client(base_url=url, headers=headers) as client:
        one = client.post("/v1/requests", json=office.submission())
        line = json.dumps(office.submission("bob.example@example.test"))
        sent = headers | {"Content-Type": "application/jsonl", "Idempotency-Key": "k"}
        many = client.post("/v1/requests/batch", content=line.encode(), headers=sent)

    assert (one.status_code, many.status_code) == (202, 202)
    assert json.loads(many.text.splitlines()[-1])["accepted"] == 1


def test_a_kind_that_no_worker_can_do_is_not_accepted(office: Office) -> None:
    for kind in ("access",):
        answer = office.call("POST", "/v1/requests", office.submission(kind=kind))
        assert (answer.status_code, answer.json()["code"]) == (422, "kind_not_available")
    assert office.rows("SELECT 1 FROM requests") == []


def test_the_same_key_and_body_give_the_same_answer(office: Office) -> None:
    body = office.submission()
    headers = {"Idempotency-Key": "once"}

    first = office.call("POST", "/v1/requests", body, headers=headers)
    again = office.call("POST", "/v1/requests", body, headers=headers)
    other = office.call("POST", "/v1/requests", body | {"regime": "ccpa"}, headers=headers)
    somebody_else = office.call("POST", "/v1/requests", body, headers=headers, key=office.new_key())

    assert first.json() == again.json()
    assert first.headers.get("Idempotent-Replayed") is None
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert somebody_else.json()["id"] != first.json()["id"]


def test_a_reference_is_used_once(office: Office) -> None:
    office.submit(external_reference="case-1")

    answer = office.call("POST", "/v1/requests", office.submission("bob@example.test", external_reference="case-1"))

    assert (answer.status_code, answer.json()["code"]) == (409, "reference_in_use")


def _in(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def _wrong() -> list[tuple[dict[str, Any], str, str]]:
    return [
        ({"received_at": _in(hours=1)}, "/received_at", "in_the_future"),
        ({"received_at": _in(days=-4000)}, "/received_at", "too_long_ago"),
        ({"received_at": "2026-11-20T09:00:00"}, "/received_at", "timezone_aware"),
        ({"received_at": 1790000000}, "/received_at", "not_rfc_3339"),
        ({"received_at": "9999-12-31T23:59:59-23:59"}, "/received_at", "outside_the_calendar"),
        ({"received_at": "0001-01-01T00:00:00+23:59"}, "/received_at", "outside_the_calendar"),
        ({"regime": "martian"}, "/regime", "enum"),
        ({"kind": "erasure\x00"}, "/kind", "enum"),
        ({"external_reference": "ada@example.test"}, "/external_reference", "string_pattern_mismatch"),
        ({"external_reference": "case\n"}, "/external_reference", "string_pattern_mismatch"),
        ({"identifiers": []}, "/identifiers", "too_short"),
        ({"identifiers": [{"kind": "email", "value": EMAIL}] * 51}, "/identifiers", "too_long"),
        ({"identifiers": [{"kind": "email", "value": "x" * 600}]}, "/identifiers/0/value", "string_too_long"),
        ({"identifiers": [{"kind": "E-Mail", "value": EMAIL}]}, "/identifiers/0/kind", "string_pattern_mismatch"),
        ({"identifiers": [{"kind": "email", "value": "ada"}]}, "/identifiers/0/value", "malformed_email"),
        ({"identifiers": [{"kind": "customer_id", "value": "a\x00b"}]}, "/identifiers/0/value", "control_character"),
        ({"identifiers": [{"kind": "customer_id", "value": " "}]}, "/identifiers/0/value", "empty"),
        (
            {
                "identifiers": [
                    {"kind": "customer_id", "value": "7", "verification": {"method": "none", "verified_at": _in()}}
                ]
            },
            "/identifiers/0/verification/method",
            "names_no_proof",
        ),
        (
            {
                "identifiers": [
                    {"kind": "customer_id", "value": "7", "verification": {"method": EMAIL, "verified_at": _in()}}
                ]
            },
            "/identifiers/0/verification/method",
            "string_pattern_mismatch",
        ),
        ({EMAIL: "unknown"}, "", "extra_forbidden"),
        ({"identifiers": [{"kind": "customer_id", "value": "7", EMAIL: 1}]}, "/identifiers/0", "extra_forbidden"),
    ]


def test_a_wrong_value_is_located_and_never_repeated(office: Office) -> None:
    for change, field, reason in _wrong():
        answer = office.call("POST", "/v1/requests", office.submission() | change)

        assert answer.status_code == 422, change
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (field, reason) in [(each["field"], each["reason"]) for each in answer.json()["errors"]], change
        assert EMAIL not in answer.text
    assert office.rows("SELECT 1 FROM requests") == []


def test_a_body_that_is_no_body_is_refused(office: Office) -> None:
    headers = {"Authorization": f"Bearer {office.key.token}", "Content-Type": "application/json"}
    for body, status, code in (
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe{}", 400, "malformed_json"),
        (b'{"a": NaN}', 400, "malformed_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", 400, "malformed_json"),
        (b"[" * 5000 + b"]" * 5000, 400, "malformed_json"),
        (b"[" * 20 + b"]" * 20, 422, "validation"),
        (b'{"kind": "erasure", "kind": "access"}', 422, "validation"),
        (b'{"kind": "\\ud800"}', 422, "validation"),
        (b"[]", 422, "validation"),
        (b'"' + b"x" * 70_000 + b'"', 413, "too_large"),
    ):
        answer = office.client.post("/v1/requests", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:20]


def test_only_json_is_read(office: Office) -> None:
    key = {"Authorization": f"Bearer {office.key.token}"}
    for media_type in (
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/xml"},
        {"Content-Type": "json"},
    ):
        answer = office.client.post("/v1/requests", content=b"{}", headers=key | media_type)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), media_type


def test_an_identifier_that_postgres_could_not_store_is_refused(office: Office) -> None:
    raw = office.submission()
    raw["identifiers"] = [{"kind": "customer_id", "value": "\ud800"}]

    answer = office.client.post(
        "/v1/requests",
        content=json.dumps(raw).encode(),
        headers={"Authorization": f"Bearer {office.key.token}", "Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "/identifiers/0/value"


def test_an_idempotency_key_has_a_form(office: Office) -> None:
    for key in ("", "a b", "x" * 65, "ada@example.test"):
        answer = office.call("POST", "/v1/requests", office.submission(), headers={"Idempotency-Key": key})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].lower() == "header/idempotency-key"


def test_a_request_is_not_written_to_another_server_than_its_key_was_made_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_before._statement
    monkeypatch.setattr(
        read_before, "_statement", lambda *given: real(*given).replace("pg_postmaster_start_time()", "now()")
    )

    answer = office.call("POST", "/v1/requests", office.submission())

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert office.rows("SELECT 1 FROM requests") == []
