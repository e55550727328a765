"""A request's whole way over HTTP, with the engine working in between, to a certificate that stands without us."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from httpx import Client

from service.access.create_key import create_key
from service.api.app import create_app
from service.cli.audit import verify_audit
from service.domain.access.api_key import Scope
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company
from tests.integration.api.conftest import serving


def _verify(certificate: Path, key: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(verify_audit.__file__)), "--certificate", str(certificate), "--key", str(key)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_from_submission_to_verified_certificate(company: Company, tmp_path: Path) -> None:
    person = company.world.ordinary[0]
    key = create_key(company.stores, name="t", scopes=tuple(Scope), life=timedelta(days=1), actor="cli")
    at = datetime.now(UTC).isoformat()
    identifier = {
        "kind": "email",
        "value": person.emails[0],
        "verification": {"method": "email_link", "verified_at": at},
    }
    body = {"kind": "erasure", "regime": "gdpr", "identifiers": [identifier], "received_at": at}
    headers = {"Authorization": f"Bearer {key.token}"}
    with serving(create_app(company.stores, company.settings)) as url, Client(base_url=url, headers=headers) as client:
        where = client.post("/v1/requests", json=body).headers["Location"]
        early = client.get(f"{where}/certificate")
        company.drive()
        shown = client.get(where).json()
        answer = client.get(f"{where}/certificate")

    assert (early.status_code, early.json()["code"]) == (409, "wrong_state")
    assert shown["state"] == "fulfilled", shown
    assert answer.status_code == 200, answer.text
    for value in person.residue_values:
        assert value not in answer.text + json.dumps(shown)
    claims = answer.json()["certificate"]
    _check_claims(claims, shown)
    certificate, public = tmp_path / "certificate.json", tmp_path / "log.pub"
    certificate.write_bytes(answer.content)
    public.write_text(f"{audit_signing_key(company.settings).trusted}\n")
    verified = _verify(certificate, public)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    claims["systems"][0]["outcome"] = "absent" if claims["systems"][0]["outcome"] != "absent" else "erased_verified"
    tampered = answer.json() | {"certificate": claims}
    certificate.write_text(json.dumps(tampered, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    assert _verify(certificate, public).returncode == 1


def _check_claims(claims: dict[str, Any], shown: dict[str, Any]) -> None:
    assert claims["final"] is False
    assert claims["request"]["state"] == "fulfilled"
    assert claims["identifiers"][0]["verification"]["method"] == "email_link"
    assert claims["plans"][-1]["hash"] == shown["plan"]["hash"]
    assert {s["system"]: s["outcome"] or s["standing"] for s in claims["systems"]} == {
        s["system"]: s["state"] for s in shown["steps"]
    }
    assert any(count["count"] for system in claims["systems"] for count in system["erased"])
    assert claims["open_systems"] == 0
