"""The commands that speak to the API or to the stores, as a person at a terminal meets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from service.api.bodies import stream_import as import_intake
from service.api.schemas import ListQuery
from service.cli import keys, systems
from service.cli.audit import commands as audit
from service.cli.client import Api, Broken
from service.cli.requests import imports, request
from service.domain.access.api_key import Scope
from tests.integration.api.conftest import EMAIL, Office

Run = Callable[..., Result]


@pytest.fixture
def run(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command of one of the sub-apps against the office's API."""
    key_file = tmp_path / "key"
    key_file.write_text(office.key.token + "\n")
    monkeypatch.setenv("COLUMNS", "240")

    def call(app: Any, *arguments: str, given: str | None = None, api: bool = True) -> Result:
        options = ["--url", office.url, "--key-file", str(key_file)] if api else []
        return CliRunner().invoke(app, [*arguments, *options], input=given)

    return call


@pytest.fixture
def config(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of the same installation; the URLs come as `expunge up` hands them on."""
    engine = office.stores.engine.url
    monkeypatch.setenv("EXPUNGE_DATABASE_URL", engine.render_as_string(hide_password=False))
    key_url = office.stores._key_engine.url
    monkeypatch.setenv("EXPUNGE_KEY_DATABASE_URL", key_url.render_as_string(hide_password=False))
    path = tmp_path / "expunge.toml"
    path.write_text(f'[service]\ndata_directory = "{office.settings.service.data_directory}"\n')
    return path


def test_a_request_from_submission_to_revocation(office: Office, run: Run) -> None:
    at = datetime.now(UTC).isoformat()
    identifiers = json.dumps(
        [{"kind": "email", "value": EMAIL, "verification": {"method": "signed_in", "verified_at": at}}]
    )

    submitted = run(request.app, "submit", "--identifiers", "-", "--reference", "cli-1", "--json", given=identifiers)
    assert submitted.exit_code == 0, submitted.output
    request_id = json.loads(submitted.stdout)["id"]
    listed = run(request.app, "list")
    shown = run(request.app, "show", request_id)
    found = run(request.app, "lookup", "--identifier", "-", given=json.dumps({"kind": "email", "value": EMAIL}))
    revealed = run(request.app, "reveal", request_id)
    extended = run(request.app, "extend", request_id, "--reason", "complexity")
    revoked = run(request.app, "revoke", request_id)
    again = run(request.app, "revoke", request_id)

    for result in (listed, shown, found, revealed, extended, revoked):
        assert result.exit_code == 0, result.output
    assert request_id in listed.stdout
    assert "a***@e***.test" in shown.stdout
    assert request_id in found.stdout
    assert EMAIL in revealed.stdout
    assert "(extended)" in extended.stdout
    assert "revoked" in revoked.stdout
    assert (again.exit_code, again.stderr.split(":")[0]) == (1, "409 wrong_state")
    for result in (listed, shown, found, extended, revoked, again):
        assert EMAIL not in result.output


def test_refusals_are_short_and_repeat_nothing(office: Office, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = json.dumps([{"kind": "email", "value": f"{EMAIL} "}, {"kind": "email", "value": "no-mail"}])

    refused = run(request.app, "submit", "--identifiers", "-", given=bad)
    no_json = run(request.app, "submit", "--identifiers", "-", given=EMAIL)
    no_file = run(request.app, "submit", "--identifiers", "/nowhere/x.json")
    monkeypatch.delenv("EXPUNGE_API_KEY", raising=False)
    no_key = run(request.app, "list", "--url", office.url, api=False)
    monkeypatch.setenv("EXPUNGE_API_KEY", office.key.token)
    with_key = run(request.app, "list", "--url", office.url, api=False)
    nobody_there = run(request.app, "list", "--url", "http://127.0.0.1:9", api=False)

    assert (refused.exit_code, no_json.exit_code, no_file.exit_code) == (1, 2, 2)
    assert "/identifiers/1/value: malformed_email" in refused.stderr
    assert (no_key.exit_code, with_key.exit_code, nobody_there.exit_code) == (2, 0, 2)
    for result in (refused, no_json, no_file, no_key, nobody_there):
        assert EMAIL not in result.output
        assert "Traceback" not in result.output


def test_keys_are_made_listed_and_revoked(office: Office, run: Run, config: Path) -> None:
    scopes = ("--scope", "requests:read", "--scope", "systems:read")
    made = run(keys.app, "create", "--name", "auditor", *scopes, "--config", str(config), "--json", api=False)
    assert made.exit_code == 0, made.output
    key = json.loads(made.stdout)

    answer = office.client.get("/v1/requests", headers={"Authorization": f"Bearer {key['key']}"})
    listed = run(keys.app, "list", "--config", str(config), api=False)
    revoked = run(keys.app, "revoke", key["prefix"], "--config", str(config), api=False)
    refused = office.client.get("/v1/requests", headers={"Authorization": f"Bearer {key['key']}"})
    again = run(keys.app, "revoke", key["prefix"], "--config", str(config), api=False)
    too_long = run(
        keys.app,
        "create",
        "--name",
        "x",
        "--scope",
        "requests:read",
        "--days",
        "9999",
        "--config",
        str(config),
        api=False,
    )

    assert (answer.status_code, refused.status_code) == (200, 401)
    assert key["prefix"] in listed.stdout
    assert key["key"] not in listed.stdout
    assert (revoked.exit_code, again.exit_code, too_long.exit_code) == (0, 1, 1)
    assert [(n, a) for n, a, _ in office.events(key["id"])] == [("key_created", "cli"), ("key_revoked", "cli")]
    assert office.events(key["id"])[0][2]["roles"] == [Scope.REQUESTS_READ.value, Scope.SYSTEMS_READ.value]


def test_the_log_is_exported_and_verified(office: Office, run: Run, config: Path, tmp_path: Path) -> None:
    office.submit()
    out = tmp_path / "evidence" / "audit.jsonl"
    out.parent.mkdir()

    exported = run(audit.app, "export", "--out", str(out), "--config", str(config), api=False)
    verified = run(audit.app, "verify", str(out), api=False)
    assert exported.exit_code == 0, exported.output
    assert (out.parent / "audit.pub").exists()
    assert verified.exit_code == 0, verified.output
    content = out.read_bytes()
    assert b"export_made" in content
    out.write_bytes(content.replace(b'"gdpr"', b'"ccpa"', 1))
    assert run(audit.app, "verify", str(out), api=False).exit_code == 1
    assert sorted(p.name for p in out.parent.iterdir()) == ["audit.jsonl", "audit.pub"]


def test_a_broken_log_is_not_exported_as_good(office: Office, run: Run, config: Path, tmp_path: Path) -> None:
    office.submit()
    out = tmp_path / "audit.jsonl"
    assert run(audit.app, "export", "--out", str(out), "--config", str(config), api=False).exit_code == 0
    out.unlink()
    office.write("ALTER TABLE audit_leaves DISABLE TRIGGER ALL")
    office.write("UPDATE audit_leaves SET entry = replace(encode(entry, 'escape'), 'gdpr', 'ccpa')::bytea")

    broken = run(audit.app, "export", "--out", str(out), "--config", str(config), api=False)

    assert broken.exit_code == 1, broken.output
    assert not out.exists()
    assert "BROKEN" in broken.stderr


def test_a_certificate_is_fetched_only_when_there_is_one(office: Office, run: Run, tmp_path: Path) -> None:
    request_id, out = office.submit(), tmp_path / "certificate.json"

    early = run(audit.app, "certificate", str(request_id), "--out", str(out))
    run(request.app, "deny", str(request_id), "--reason", "no_match")
    fetched = run(audit.app, "certificate", str(request_id), "--out", str(out))

    assert (early.exit_code, fetched.exit_code) == (1, 0)
    assert json.loads(out.read_bytes())["certificate"]["request"]["state"] == "denied"


def test_systems_are_listed_and_checked(office: Office, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "systems.toml"
    path.write_text(
        '[[systems]]\nname = "support"\nconnector = "zendesk"\nbase_url = "http://127.0.0.1:9"\n'
        'allow_private_hosts = ["127.0.0.1"]\n'
        '[systems.credentials]\nemail = "privacy@example.test"\napi_token = "stand-in-token"\n'
    )

    listed = run(systems.app, "list")
    checked = run(systems.app, "check", "--config", str(path), "--json", api=False)

    assert listed.exit_code == 0, listed.output
    assert "support-eu" in listed.stdout
    assert checked.exit_code == 1, checked.output
    assert [(each["system"], each["ok"]) for each in json.loads(checked.stdout)] == [("support", False)]
    assert "stand-in-token" not in checked.output


def test_a_file_of_requests_is_imported_followed_and_steered(office: Office, run: Run, tmp_path: Path) -> None:
    people = tmp_path / "people.jsonl"
    lines = [json.dumps(office.submission(f"p{n}@example.test")) for n in range(3)]
    people.write_text("\n".join([*lines, "{", ""]))

    taken = run(request.app, "import", str(people), "--idempotency-key", "k-1")
    again = run(request.app, "import", str(people), "--idempotency-key", "k-1", "--json")
    (listed,) = json.loads(run(imports.app, "list", "--json").stdout)["imports"]
    shown = run(imports.app, "show", listed["id"])
    paused = run(imports.app, "pause", listed["id"])
    resumed = run(imports.app, "resume", listed["id"], "--json")
    unasked = run(imports.app, "cancel", listed["id"], given="y\n")
    cancelled = run(imports.app, "cancel", listed["id"], "--yes")
    refused = run(imports.app, "resume", listed["id"])
    too_late = run(request.app, "import", str(people), "--idempotency-key", "k-1")

    assert (taken.exit_code, again.exit_code) == (1, 1)
    assert "line 4 refused: malformed_json: (whole): not_json_in_utf_8" in taken.stdout
    assert "4 lines, 3 accepted, 0 duplicate, 0 replayed, 1 refused" in taken.stdout
    assert "--idempotency-key k-1" in taken.stderr
    verdicts = [json.loads(each) for each in again.stdout.splitlines()]
    assert [each["status"] for each in verdicts] == ["replayed"] * 3 + ["refused"]
    assert "3 accepted" in shown.stdout
    assert "not_json_in_utf_8" in shown.stdout
    assert "paused" in paused.stdout
    assert json.loads(resumed.stdout)["state"] == "running"
    assert unasked.exit_code == 2
    assert "revokes 3 unfinished requests of this import and can't be undone: give --yes" in unasked.stderr
    assert "cancelling" in cancelled.stdout
    assert (refused.exit_code, refused.stderr.split(":")[0]) == (1, "409 wrong_state")
    assert (too_late.exit_code, too_late.stderr.splitlines()[-1]) == (1, "409 wrong_state: the import was cancelled")
    for result in (taken, again, shown, paused, resumed, cancelled, too_late):
        assert "example.test" not in result.output


def test_lists_of_requests_take_every_filter_of_the_api(office: Office, run: Run, tmp_path: Path) -> None:
    old = office.submission("eve@example.test", external_reference="old") | {"received_at": "2026-01-02T00:00:00Z"}
    assert office.call("POST", "/v1/requests", old | {"regime": "ccpa"}).status_code == 202
    people = tmp_path / "people.jsonl"
    people.write_text(json.dumps(office.submission(external_reference="new")))
    run(request.app, "import", str(people))
    (imported,) = json.loads(run(imports.app, "list", "--json").stdout)["imports"]

    def listed(*filters: str) -> list[str]:
        result = run(request.app, "list", "--json", *filters)
        assert result.exit_code == 0, result.output
        return sorted(each["external_reference"] for each in json.loads(result.stdout)["requests"])

    assert listed() == ["new", "old"]
    assert listed("--state", "open") == ["new", "old"]
    assert listed("--state", "denied") == listed("--reason", "needs_review") == listed("--parked") == []
    assert listed("--kind", "erasure") == listed("--not-parked") == ["new", "old"]
    assert listed("--regime", "gdpr") == listed("--import", imported["id"]) == listed("--reference", "new") == ["new"]
    assert listed("--respond-before", "2026-06-01T00:00:00Z") == ["old"]
    assert listed("--overdue") == []
    assert listed("--in-time") == ["new", "old"]
    assert run(request.app, "list", "--respond-before", "soon").exit_code == 1
    assert run(request.app, "list", "--state", "lost").exit_code == 2


def test_the_list_of_requests_has_an_option_for_every_filter() -> None:
    command: Any = typer.main.get_command(request.app)
    assert {parameter.name for parameter in command.commands["list"].params} >= set(ListQuery.model_fields)


def test_a_broken_connection_is_gone_on_with(office: Office, run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    people = tmp_path / "people.csv"
    row = "erasure,gdpr,2026-11-20T09:30:00Z"
    people.write_text(
        "kind,regime,received_at,identifier.email\n" + "".join(f"{row},p{n}@example.test\n" for n in range(3))
    )
    monkeypatch.setattr(imports, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(import_intake, "LINES_PER_SET", 1)
    real = Api.stream
    broken: list[int] = []

    def breaks(self: Api, *args: Any, **named: Any) -> Iterator[str]:
        for line in real(self, *args, **named):
            yield line
            if len(broken) < 2:
                broken.append(1)
                raise Broken("ReadError", was_connected=True)

    monkeypatch.setattr(Api, "stream", breaks)
    taken = run(request.app, "import", str(people), "--json")
    unreachable = run(request.app, "import", str(people), "--url", "http://127.0.0.1:9", api=False)
    no_format = run(request.app, "import", str(tmp_path / "people.txt"))
    no_file = run(request.app, "import", str(tmp_path / "nobody.csv"))

    assert taken.exit_code == 0, taken.output
    assert len(broken) == 2
    assert [json.loads(each)["line"] for each in taken.stdout.splitlines()] == [2, 3, 4]
    assert office.rows("SELECT count(*) AS n FROM requests")[0].n == 3
    assert (unreachable.exit_code, no_format.exit_code, no_file.exit_code) == (2, 2, 2)
