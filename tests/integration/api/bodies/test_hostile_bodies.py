"""No body, however odd its JSON, is answered with a fault of ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.api.conftest import Office

# As they stand in a body: some of them no JSON library writes.
HOSTILE = {
    "deep lists": "[" * 30_000 + "]" * 30_000,
    "deep objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "a bit deep": "[" * 500 + "]" * 500,
    "not a number": "NaN",
    "infinite": "-Infinity",
    "infinite by its exponent": "1e999",
    "a huge integer": "9" * 5000,
    "a large integer": "9" * 4000,
    "beyond 64 bits": "18446744073709551616",
    "a lone surrogate": r'"\ud800@example.test"',
    "a zero character": r'"a\u0000b"',
    "a list of nothing": "[null]",
    "an empty name": '{"": {"": []}}',
}
_MARK = "replaced-by-something-hostile"


@pytest.mark.slow(seconds=26)
def test_no_operation_answers_hostile_json_with_500(office: Office) -> None:
    described = office.call("GET", "/openapi.json").json()
    asked = 0
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is None:
                continue
            concrete = path.replace("{system}", "support")
            while "{" in concrete:
                concrete = concrete[: concrete.index("{")] + str(uuid4()) + concrete[concrete.index("}") + 1 :]
            names = [None, *_properties(schema, described)]
            for name in names:
                for kind, text in HOSTILE.items():
                    body = text if name is None else f"{{{json.dumps(name)}: {text}}}"
                    _assert_no_fault(
                        office, method.upper(), concrete, body, f"{operation['operationId']} {name} {kind}"
                    )
                    asked += 1
    assert asked > 100


def test_no_field_of_a_submission_is_answered_with_500(office: Office) -> None:
    submission = office.submission()
    for place in _leaves(submission):
        for kind, text in HOSTILE.items():
            changed = copy.deepcopy(submission)
            _put(changed, place, _MARK)
            body = json.dumps(changed).replace(f'"{_MARK}"', text)
            _assert_no_fault(office, "POST", "/v1/requests", body, f"{place} {kind}")


def test_no_line_of_an_import_is_answered_with_500(office: Office) -> None:
    submission = json.dumps(office.submission()).replace('"ada.lovelace@example.test"', f'"{_MARK}"')
    lines = [*HOSTILE.values(), *(submission.replace(f'"{_MARK}"', text) for text in HOSTILE.values())]
    headers = {"Content-Type": "application/jsonl", "Idempotency-Key": "hostile"}
    headers["Authorization"] = f"Bearer {office.key.token}"
    answer = office.client.post("/v1/requests/batch", content="\n".join(lines) + "\n", headers=headers)
    assert answer.status_code < 500, answer.text
    assert "internal" not in answer.text


def _assert_no_fault(office: Office, method: str, path: str, body: str, what: str) -> None:
    headers = {"Authorization": f"Bearer {office.key.token}", "Content-Type": "application/json"}
    headers["Idempotency-Key"] = uuid4().hex
    answer = office.client.request(method, path, content=body.encode(), headers=headers)
    assert answer.status_code < 500, f"{what}: {answer.text}"


def _properties(schema: Any, described: Any) -> list[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found = described["components"]["schemas"][name] if name else schema
    return list(found.get("properties", {}))


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _leaves(inner, (*place, name))


def _put(value: Any, place: tuple[Any, ...], new: Any) -> None:
    for name in place[:-1]:
        value = value[name]
    value[place[-1]] = new
