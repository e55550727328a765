"""Rules of every answer: headers, problems instead of errors, and no personal data in the logs."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import OperationalError

from service.api import dependencies as door
from service.api.middleware import HEADERS
from tests.integration.api.conftest import EMAIL, Office


def test_every_answer_carries_the_headers(office: Office) -> None:
    for answer in (
        office.client.get("/healthz"),
        office.client.get("/v1/requests"),
        office.client.get("/nowhere"),
        office.call("POST", "/v1/requests", office.submission()),
    ):
        assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)


def test_unknown_paths_methods_and_ids_are_problems(office: Office) -> None:
    for method, path, status, code in (
        ("GET", f"/{EMAIL}", 404, "not_found"),
        ("GET", "/v1/requests/", 404, "not_found"),
        ("GET", f"/v1/requests/{EMAIL}", 404, "not_found"),
        ("GET", f"/v1/requests/{uuid4()}", 404, "not_found"),
        ("GET", f"/v1/requests/{uuid4()}/certificate", 404, "not_found"),
        ("POST", f"/v1/requests/{uuid4()}/revoke", 404, "not_found"),
        ("POST", f"/v1/requests/{uuid4()}/reveal", 404, "not_found"),
        ("DELETE", f"/v1/holds/{uuid4()}?reason=other", 404, "not_found"),
        ("PATCH", "/v1/requests", 405, "method_not_allowed"),
        ("TRACE", "/v1/requests", 405, "method_not_allowed"),
    ):
        answer = office.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert EMAIL not in answer.text
    assert "GET" in office.call("PATCH", "/v1/requests").headers["Allow"]


def test_a_fault_of_ours_tells_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **named: Any) -> Any:
        raise RuntimeError(f"could not handle {EMAIL}")

    monkeypatch.setattr(door, "submit_requests", fail)
    answer = office.call("POST", "/v1/requests", office.submission())

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    printed = capfd.readouterr()
    everything = answer.text + printed.out + printed.err + caplog.text
    assert EMAIL not in everything
    assert "RuntimeError" in printed.out + printed.err + caplog.text


def test_a_store_that_is_down_is_said_so(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **named: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception(EMAIL))

    monkeypatch.setattr(door, "submit_requests", fail)
    answer = office.call("POST", "/v1/requests", office.submission())

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert EMAIL not in answer.text


def test_readiness_asks_for_migrated_stores(office: Office) -> None:
    office.write("ALTER TABLE requests RENAME TO elsewhere")

    answer = office.client.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert office.client.get("/healthz").status_code == 200


def test_metrics_count_routes_as_written_and_work_as_stored(office: Office) -> None:
    request_id = office.submit()
    office.add_step(request_id, state="parked")
    office.show(request_id)

    text = office.call("GET", "/metrics").text

    assert 'route="/v1/requests/{request_id}",status="200"' in text
    assert 'expunge_requests{reason="",state="open"} 1.0' in text
    assert 'expunge_steps{state="parked",system="support"} 1.0' in text
    assert str(request_id) not in text
