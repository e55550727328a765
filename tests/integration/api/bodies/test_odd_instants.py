"""Every timestamp and cursor that the API reads: one outside the calendar is a named problem, never a 500."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.api.conftest import EMAIL, Office

OUTSIDE = (
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999-00:01",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00+00:01",
    "0001-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2026-01-01T00:00:00+99:99",
    "9" * 5000,
    "1e308",
    "-1",
    "NaN",
)
QUERIES = (
    "/v1/audit/export?from={}",
    "/v1/audit/export?to={}",
    "/v1/audit/export?format=csv&from={}",
    "/v1/audit/export?format=parquet&to={}",
    "/v1/audit/export/manifest?format=csv&from={}",
    "/v1/audit/export/manifest?format=csv&to={}",
    "/v1/requests?respond_before={}",
)
COUNTS = (
    "/v1/audit/export?size={}",
    "/v1/audit/export?start={}",
    "/v1/requests?limit={}",
    "/v1/imports?limit={}",
    "/v1/imports/00000000-0000-0000-0000-000000000007/refused?after={}",
    "/v1/steps?limit={}",
    "/v1/requests?cursor={}",
    "/v1/imports?cursor={}",
    "/v1/steps?cursor={}",
)


def refused(answer: Any, *, field: str) -> None:
    assert answer.status_code in (404, 422), answer.text
    problem = answer.json()
    if answer.status_code == 422:
        assert [error["field"] for error in problem["errors"]] == [field], problem


@pytest.mark.parametrize("path", QUERIES)
def test_a_period_outside_the_calendar_is_refused(path: str, office: Office) -> None:
    for text in OUTSIDE:
        answer = office.call("GET", path.format(quote(text)))
        refused(answer, field="query/" + re.split("[?&]", path.removesuffix("={}"))[-1])
        assert text not in answer.text
    inside = office.call("GET", path.format(quote("9998-12-31T23:59:59-14:00")))
    assert inside.status_code == 200, inside.text


@pytest.mark.parametrize("path", COUNTS)
def test_numbers_and_cursors_without_bound_are_refused(path: str, office: Office) -> None:
    field = "query/" + path.split("?")[1].split("=")[0]
    for number in ("9" * 19, "9" * 400, "9" * 5000, "-1", "1e9", "NaN", "0x10"):
        refused(office.call("GET", path.format(number)), field=field)


@pytest.mark.parametrize("path", ["/v1/requests", "/v1/imports", "/v1/steps"])
def test_a_made_up_cursor_is_refused(path: str, office: Office) -> None:
    for place in (f"{'9' * 17}.{'0' * 32}", f"{'9' * 30}.{'0' * 32}", f"-1.{'0' * 32}", "9" * 70, ".", "\x00.\x00"):
        cursor = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
        answer = office.call("GET", f"{path}?cursor={cursor}")
        assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_body_outside_the_calendar_is_refused(text: str, office: Office) -> None:
    identifier = {"kind": "email", "value": EMAIL}
    proof = {"method": "email_link", "verified_at": text}
    submission = office.submission()
    verified = [{**identifier, "verification": proof}]
    before = office.rows("SELECT count(*) FROM requests")
    refused(office.call("POST", "/v1/requests", submission | {"received_at": text}), field="/received_at")
    refused(
        office.call("POST", "/v1/requests", submission | {"identifiers": verified}),
        field="/identifiers/0/verification/verified_at",
    )
    hold = {"identifiers": [identifier], "reason": "litigation", "until": text}
    refused(office.call("POST", "/v1/holds", hold), field="/until")
    assert office.rows("SELECT count(*) FROM requests") == before
    assert office.rows("SELECT count(*) FROM holds")[0][0] == 0
