"""Authentication: every route against no key, wrong keys, ended keys and keys without its scope."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from service.domain.access.api_key import Scope
from tests.integration.api.conftest import Office

ANYBODY = {"/healthz", "/readyz"}
SIGNED = {"/v1/callbacks/support"}


def _operations(office: Office) -> list[tuple[str, str, Any]]:
    described = office.call("GET", "/openapi.json").json()["paths"]
    return [
        (method.upper(), path.replace("{system}", "support").replace("{request_id}", str(uuid4())), operation)
        for path, methods in described.items()
        for method, operation in methods.items()
    ]


def _path(path: str) -> str:
    return re.sub(r"\{(hold|import|step)_id\}", str(uuid4()), path)


@pytest.mark.slow(seconds=12)
def test_every_route_wants_a_valid_key_with_its_scope(office: Office) -> None:
    revoked, expired = office.new_key(), office.new_key()
    now = datetime.now(UTC)
    office.write("UPDATE api_keys SET revoked_at = :now WHERE id = :id", now=now, id=revoked.id)
    office.write("UPDATE api_keys SET expires_at = :now WHERE id = :id", now=now - timedelta(seconds=1), id=expired.id)
    wrong_secret = office.key.token[:-4] + ("AAAA" if not office.key.token.endswith("AAAA") else "BBBB")
    headers: dict[str, dict[str, str]] = {
        "no key": {},
        "unknown": {"Authorization": f"Bearer xpg_{'a' * 8}_{'A' * 43}"},
        "wrong secret": {"Authorization": f"Bearer {wrong_secret}"},
        "revoked": {"Authorization": f"Bearer {revoked.token}"},
        "expired": {"Authorization": f"Bearer {expired.token}"},
        "no bearer": {"Authorization": f"Basic {office.key.token}"},
        "no form": {"Authorization": "Bearer ' OR 1=1 --"},
    }
    guarded = [(m, p, o) for m, p, o in _operations(office) if p not in ANYBODY | SIGNED]
    assert len(guarded) >= 19
    for method, path, operation in guarded:
        needed = _suffices(operation)
        for case, given in headers.items():
            answer = office.client.request(method, _path(path), json={}, headers=given)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (case, method, path)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert {"401", "403", "500", "503"} <= operation["responses"].keys(), (method, path)
        assert needed, (method, path)


def _suffices(operation: Any) -> set[str]:
    """The scopes of which one opens the operation."""
    return {scope for requirement in operation["security"] for scope in requirement["apiKey"]}


@pytest.mark.slow(seconds=18)
def test_each_scope_opens_its_own_operations_and_no_other(office: Office) -> None:
    """All operations by all scopes, each scope as a key's only one."""
    guarded = [(m, p, o) for m, p, o in _operations(office) if p not in ANYBODY | SIGNED]
    for scope in Scope:
        key = office.new_key(scope)
        for method, path, operation in guarded:
            answer = office.call(method, _path(path), {}, key=key)
            if scope.value in _suffices(operation):
                assert answer.status_code not in (401, 403, 500), (scope, method, path, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), (scope, method, path)
                named = re.search(r'scope="([^"]+)"', answer.headers["WWW-Authenticate"])
                assert named is not None
                assert named[1] in _suffices(operation)


def test_a_key_with_only_the_scope_comes_in(office: Office) -> None:
    key = office.new_key(Scope.REQUESTS_READ)

    assert office.call("GET", "/v1/requests", key=key).status_code == 200
    assert office.call("POST", "/v1/requests", office.submission(), key=key).status_code == 403


def test_health_is_open_and_nothing_else(office: Office) -> None:
    assert office.client.get("/healthz").json() == {"status": "alive"}
    assert office.client.get("/readyz").json() == {"status": "ready"}
    for path in ("/docs", "/redoc", "/v1/openapi.json", "/"):
        assert office.client.get(path).status_code == 404


def test_the_key_is_checked_before_anything_is_read(office: Office) -> None:
    answer = office.client.post("/v1/requests", content=b"x" * 70_000, headers={"Content-Type": "text/plain"})

    assert answer.status_code == 401


def test_two_keys_at_once_are_none(office: Office) -> None:
    own = ("Authorization", f"Bearer {office.key.token}")

    assert office.client.get("/v1/requests", headers=[own, own]).status_code == 401


def test_refused_keys_are_counted_and_secrets_are_stored_as_hashes(office: Office) -> None:
    office.client.get("/v1/requests")
    office.client.get("/v1/requests", headers={"Authorization": f"Bearer xpg_{'a' * 8}_{'A' * 43}"})

    counted = office.call("GET", "/metrics").text
    assert 'expunge_authentication_failures_total{reason="missing"} 1.0' in counted
    assert 'expunge_authentication_failures_total{reason="unknown"} 1.0' in counted
    secret = office.key.token.split("_", 2)[2]
    (row,) = office.rows("SELECT * FROM api_keys")
    assert secret not in str(tuple(row))
    assert secret.encode() not in bytes(row.secret_hash)
    assert secret not in repr(office.key)
