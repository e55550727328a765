"""The API does what its description says: generated calls against the running service, and the description itself."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.access.api_key import Scope
from tests.integration.api.conftest import EMAIL, Office
from tests.integration.api.generated_calls import call_everything, is_opened


def _generated(office: Office, scope: Scope | None, *, examples: int) -> None:
    """All operations with a key of one scope, or without a key; each answer is one of the described ones."""
    answered = call_everything(office, None if scope is None else office.new_key(scope), examples=examples)

    described = dict(_described(office))
    assert answered.keys() == {f"{name.split(' ')[0].upper()} {name.split(' ')[1]}" for name in described}
    assert all(status < 500 for statuses in answered.values() for status in statuses), answered
    for name, operation in described.items():
        method, path = name.split(" ")
        statuses = answered[f"{method.upper()} {path}"]
        if not is_opened(operation, () if scope is None else (scope,)):
            assert statuses == {401 if scope is None else 403}, name
        elif operation["security"]:
            assert not statuses & {401, 403} or path.endswith("/approve"), name


@pytest.mark.parametrize("scope", [None, *Scope])
def test_generated_calls_with_one_scope_find_no_surprise(office: Office, scope: Scope | None) -> None:
    _generated(office, scope, examples=2)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scope", [None, *Scope])
def test_many_generated_calls_with_one_scope_find_no_surprise(office: Office, scope: Scope | None) -> None:
    _generated(office, scope, examples=150)


def test_generated_calls_with_every_scope_find_no_surprise(office: Office) -> None:
    answered = call_everything(office, office.key, examples=5)

    assert len(answered) >= 35
    assert not any(statuses & {401} for name, statuses in answered.items() if "callbacks" not in name), answered
    # The calls reach what is behind the checks of form.
    assert sum(any(status < 300 for status in statuses) for statuses in answered.values()) >= 12, answered


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_generated_calls_with_every_scope_find_no_surprise(office: Office) -> None:
    call_everything(office, office.key, examples=150)


def test_every_status_of_an_operation_is_described(office: Office) -> None:
    for name, operation in _described(office):
        method, path = name.split(" ")
        statuses = set(operation["responses"])
        needed = {"500"}
        if operation["security"]:
            needed |= {"401", "403", "422", "503"}
        if "requestBody" in operation:
            needed |= {"400", "413", "415"}
        if "_id}" in path or "{name}" in path:
            needed |= {"404"}
        if method == "post" and "_id}" in path and not path.endswith("/reveal"):
            needed |= {"409"}
        if path.endswith(("/reveal", "/certificate", "/certificate.pdf")):
            needed |= {"410"}
        if path in ("/v1/requests", "/v1/requests/batch") and method == "post":
            needed |= {"409"}
        if "callbacks" in path:
            needed |= {"401", "408", "413", "429", "503"}
        assert needed <= statuses, (name, needed - statuses)


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
