"""The whole service against an org behind HTTPS with a private CA, its tokens from another host than its API."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from connectors.salesforce.sandbox.server import SalesforceSandbox
from service.cli.demo.world import ORG
from service.cli.toml_text import to_toml
from tests.company import Company
from tests.integration.connectors.test_salesforce.tls import secured
from tests.journeys.service_up import service_up

pytestmark = [pytest.mark.journey, pytest.mark.long]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("company", [{"org": True, "accounts": []}], indirect=True)
@pytest.mark.parametrize(
    ("form", "variable"), [("secret", "REQUESTS_CA_BUNDLE"), ("signed", "SSL_CERT_FILE"), ("refresh", "SSL_CERT_FILE")]
)
def test_a_person_is_erased_from_the_org(
    company: Company,
    database_url: str,
    key_database_url: str,
    broker_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    variable: str,
) -> None:
    sandbox = company.sandboxes[ORG]
    assert isinstance(sandbox, SalesforceSandbox)
    person = company.world.ordinary[0]
    before = sandbox.snapshot({person.ref})
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with secured(sandbox, tmp_path) as org:
        monkeypatch.setenv(variable, str(org.ca))
        _point_at(company, org.login_url, org.credentials(form))
        urls = {"database_url": database_url, "key_database_url": key_database_url, "broker_url": broker_url}
        with service_up(company, urls) as service:
            request = service.submit(person)
            until = time.monotonic() + 120
            while service.client.get(f"/v1/requests/{request}")["state"] != "fulfilled":
                assert time.monotonic() < until, "the request wasn't answered in time"
                time.sleep(0.3)
            steps = {s["system"]: s["state"] for s in service.client.get(f"/v1/requests/{request}")["steps"]}
    assert steps[ORG] == "erased_verified"
    assert sandbox.residue(set(person.residue_values)) == []
    assert sandbox.changed_bystanders(before) == []


def _point_at(company: Company, login_url: str, credentials: dict[str, str]) -> None:
    """Let the configured org be the one behind HTTPS."""
    origin = company.settings.origin
    assert origin is not None
    table = tomllib.loads(origin.read_text(encoding="utf-8"))
    (entry,) = [system for system in table["systems"] if system["name"] == ORG]
    entry |= {"base_url": login_url, "credentials": credentials, "allow_private_hosts": ["127.0.0.1", "localhost"]}
    origin.write_text(to_toml(table), encoding="utf-8")
