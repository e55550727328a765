"""Send imports and read their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.integration.api.conftest import Office

JSONL, CSV = "application/jsonl", "text/csv"


HEADER = "kind,regime,received_at,external_reference,verification_method,verified_at,identifier.email,identifier.phone"


AT = "2026-11-20T09:30:00Z"


def line(office: Office, *emails: str, **more: Any) -> str:
    return json.dumps(office.submission(*emails, received_at=AT, **more))


def verified(office: Office, *emails: str, **more: Any) -> str:
    """The same line each time it is asked for."""
    body = office.submission(*emails, received_at=AT, **more)
    for identifier in body["identifiers"]:
        identifier["verification"]["verified_at"] = AT
    return json.dumps(body)


def send(office: Office, body: str | bytes | Iterator[bytes], key: str = "import-1", **more: Any) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    headers = {
        "Authorization": f"Bearer {(more.get('by') or office.key).token}",
        "Content-Type": more.get("media_type", JSONL),
        "Idempotency-Key": key,
    }
    return office.client.post("/v1/requests/batch", content=content, headers=headers)


def read(answer: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert answer.status_code == 202, answer.text
    *verdicts, last = [json.loads(each) for each in answer.text.splitlines()]
    return verdicts, last


def reasons(verdict: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    problem = verdict["problem"]
    return problem["code"], [(error["field"], error["reason"]) for error in problem["errors"]]
