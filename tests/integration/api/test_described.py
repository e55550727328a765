"""The API does what its description says: generated calls against the running service, and the description itself."""

from __future__ import annotations

from typing import Any

import hypothesis
import schemathesis
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.integration.api.conftest import EMAIL, Office

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)


def test_generated_calls_find_no_surprise(office: Office) -> None:
    schema = schemathesis.openapi.from_dict(office.call("GET", "/openapi.json").json())
    headers = {"Authorization": f"Bearer {office.key.token}"}
    called: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(20261122)
        @hypothesis.settings(
            max_examples=8,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def call(case: Case) -> None:
            answer = case.call(base_url=office.url, headers=headers)
            case.validate_response(answer, checks=list(CHECKS))

        call()
        called.add(operation.label)
    assert len(called) >= 21


def _described(office: Office) -> list[tuple[str, Any]]:
    paths = office.call("GET", "/openapi.json").json()["paths"]
    return [(f"{method} {path}", op) for path, methods in paths.items() for method, op in methods.items()]


def test_every_operation_is_described(office: Office) -> None:
    operations = _described(office)
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids))
    for name, operation in operations:
        assert operation["summary"], name
        assert "security" in operation, name
        assert any(status.startswith("2") for status in operation["responses"]), name
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name


def test_no_identifier_has_a_place_in_a_url(office: Office) -> None:
    names = {p["name"] for _, op in _described(office) for p in op.get("parameters", []) if p["in"] != "header"}

    assert names == {
        "request_id",
        "import_id",
        "after",
        "hold_id",
        "step_id",
        "system",
        "state",
        "reason",
        "kind",
        "regime",
        "overdue",
        "parked",
        "external_reference",
        "respond_before",
        "limit",
        "cursor",
        "include_lifted",
        "masks",
        "name",
        "period",
        "format",
        "from",
        "to",
        "size",
        "start",
    }


def test_nothing_sent_is_logged(office: Office, capfd: Any, caplog: Any) -> None:
    office.submit()
    office.call("POST", "/v1/requests/lookup", {"identifier": {"kind": "email", "value": EMAIL}})
    office.call("GET", f"/v1/requests?cursor={EMAIL}")

    printed = capfd.readouterr()
    assert EMAIL not in printed.out + printed.err + caplog.text
