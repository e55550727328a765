"""`expunge connector run salesforce` over HTTPS with a private CA: tokens from one host, the API at another."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from connectors.salesforce.sandbox.server import SalesforceSandbox
from service.cli.running.supervise import python
from service.cli.toml_text import to_toml

from .gods_view import GodsView
from .tls import FORMS, SecureOrg, secured
from .world import ordinary_world

_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def _run(org: SecureOrg, place: Path, form: str, trust: dict[str, str]) -> tuple[int, list[dict[str, Any]], str]:
    """The command as a user has it; exit code, JSON lines, and what was said about trouble."""
    system = {"name": "org", "base_url": org.login_url, "credentials": org.credentials(form)}
    system |= {"allow_private_hosts": ["127.0.0.1", "localhost"]}
    delays = {"poll_every": 0.02, "confirm_after": 0}
    (place / "org.toml").write_text(to_toml({"systems": [system | {"delays": delays}]}))
    identifiers = [{"kind": "email", "value": "person.0@example.test"}]
    (place / "people.jsonl").write_text(json.dumps({"subject": "p0", "identifiers": identifiers}))
    command = python("-m", "service.cli.main", "connector", "run", "salesforce", "--config", str(place / "org.toml"))
    command += ["--subjects", str(place / "people.jsonl"), "--operation", "erase", "--wait", "0", "--json"]
    clean = {name: value for name, value in os.environ.items() if name not in _TRUST}
    done = subprocess.run(command, env=clean | trust, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize(
    ("form", "variable"),
    [
        ("secret", "SSL_CERT_FILE"),
        *(
            pytest.param(form, variable, marks=pytest.mark.long)
            for form in FORMS
            for variable in _TRUST
            if (form, variable) != ("secret", "SSL_CERT_FILE")
        ),
    ],
)
def test_a_person_is_erased_with_each_credential_by_each_variable(form: str, variable: str, tmp_path: Path) -> None:
    sandbox, world = SalesforceSandbox(), ordinary_world(1)
    sandbox.seed(world.seed)
    with secured(sandbox, tmp_path) as org:
        view = GodsView(sandbox, world.people["p0"])
        code, lines, trouble = _run(org, tmp_path, form, {variable: str(org.ca)})
        assert (code, trouble) == (0, "")
        assert lines[0]["outcome"] == "erased_verified"
        assert view.violations() == {}
        assert not [row for row in sandbox.records() if "person.0@example.test" in str(row)]


@pytest.mark.long
def test_a_ca_that_nobody_trusts_is_refused_and_nothing_is_done(tmp_path: Path) -> None:
    sandbox = SalesforceSandbox()
    sandbox.seed(ordinary_world(1).seed)
    before = sandbox.records()
    with secured(sandbox, tmp_path) as org:
        code, lines, _ = _run(org, tmp_path, "secret", {})
        assert code == 1
        assert (lines[0]["outcome"], lines[0]["reason"]) == ("parked", "tls_not_trusted")
        assert sandbox.journal == []
    assert sandbox.records() == before
