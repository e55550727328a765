"""Scopes of a suppression at every door: named, checked with what is allowed, and shown again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.bodies.sent_imports import CSV, read, send
from tests.integration.api.conftest import EMAIL, Office

AT = "2026-11-20T09:30:00Z"


def body(office: Office, **changes: Any) -> dict[str, Any]:
    return office.submission(verified=False) | {"kind": "suppression", "regime": "ccpa"} | changes


def test_an_opt_out_is_accepted_and_shows_its_scopes(office: Office) -> None:
    answer = office.call("POST", "/v1/requests", body(office, scopes=["do_not_sell", "do_not_contact:email"]))
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    assert (receipt["kind"], receipt["acknowledge_by"]) == ("suppression", None)
    shown = office.call("GET", f"/v1/requests/{receipt['id']}").json()
    assert shown["scopes"] == ["do_not_contact:email", "do_not_sell"]
    erasure = office.call("POST", "/v1/requests", office.submission()).json()
    assert office.call("GET", f"/v1/requests/{erasure['id']}").json()["scopes"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "/scopes"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["sell"]}, "/scopes/0"),
        ({"scopes": ["do_not_sell", "erased"]}, "/scopes/1"),
        ({"scopes": ["do_not_sell"] * 21}, "/scopes"),
        ({"kind": "erasure", "scopes": ["do_not_sell"]}, "/scopes"),
        ({"scopes": "do_not_sell"}, "/scopes"),
    ],
)
def test_a_refusal_names_the_field_and_what_is_allowed(office: Office, changes: dict[str, Any], field: str) -> None:
    answer = office.call("POST", "/v1/requests", body(office, **changes))
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}, answer.text
    if field.startswith("/scopes/"):
        (error,) = answer.json()["errors"]
        assert (error["reason"], "do_not_contact:email" in error["allowed"]) == ("enum", True)
    assert EMAIL not in answer.text
    assert office.rows("SELECT 1 FROM requests") == []


def test_a_repeated_body_with_other_scopes_is_another_body(office: Office) -> None:
    first = body(office, scopes=["do_not_sell"])
    key = {"Idempotency-Key": "k-1"}
    assert office.call("POST", "/v1/requests", first, headers=key).status_code == 202
    assert office.call("POST", "/v1/requests", first, headers=key).headers["Idempotent-Replayed"] == "true"
    assert office.call("POST", "/v1/requests", first | {"scopes": ["objection"]}, headers=key).status_code == 409


def test_rows_of_an_import_have_a_cell_of_scopes(office: Office) -> None:
    header = "kind,regime,received_at,scopes,identifier.email"
    rows = (
        f"suppression,ccpa,{AT},do_not_sell; do_not_contact:email,a@example.test",
        f"suppression,ccpa,{AT},,b@example.test",
        f"suppression,ccpa,{AT},sell,c@example.test",
        f"erasure,gdpr,{AT},do_not_sell,d@example.test",
    )
    verdicts, last = read(send(office, "\n".join([header, *rows]) + "\n", media_type=CSV))
    assert [verdict["status"] for verdict in verdicts] == ["accepted", "refused", "refused", "refused"]
    assert last["complete"] is True
    (row,) = office.rows("SELECT scopes FROM requests")
    assert row.scopes == ["do_not_contact:email", "do_not_sell"]
