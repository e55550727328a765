"""Legal holds from a shell: identifiers from a file only, reasons explained, whose they are never shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli.requests import holds
from service.domain.requests.holds import HoldReason, LiftReason
from tests.integration.api.conftest import EMAIL, Office

Run = Callable[..., Result]


@pytest.fixture
def run(office: Office, tmp_path: Path) -> Run:
    key_file = tmp_path / "key"
    key_file.write_text(office.key.token)

    def call(*arguments: str, given: str | None = None) -> Result:
        result = CliRunner().invoke(
            holds.app, [*arguments, "--url", office.url, "--key-file", str(key_file)], input=given
        )
        assert EMAIL not in result.output
        assert "Traceback" not in result.output
        return result

    return call


def test_a_hold_is_placed_listed_and_lifted(office: Office, run: Run, tmp_path: Path) -> None:
    person = tmp_path / "person.json"
    person.write_text(json.dumps([{"kind": "email", "value": EMAIL}]))
    until = (datetime.now(UTC) + timedelta(days=400)).isoformat()

    placed = run("place", "--identifiers", str(person), "--reason", "litigation", "--until", until, "--json")
    assert placed.exit_code == 0, placed.output
    hold = json.loads(placed.stdout)
    assert (hold["reason"], hold["kinds"]) == ("litigation", ["email"])
    second = run("place", "--identifiers", "-", "--reason", "audit", given=person.read_text())
    assert second.stdout.endswith(" until it is lifted\nidentifiers: 1 (email)\n")

    header, *rows = [line.split("\t") for line in run("list").stdout.splitlines()]
    assert header[:2] == ["id", "reason"]
    assert [row[1] for row in rows] == ["audit", "litigation"]

    lifted = run("lift", hold["id"], "--reason", "placed_in_error")
    assert (lifted.exit_code, lifted.stdout.split(" at ")[0]) == (0, f"lifted {hold['id']}")
    assert office.events(hold["id"])[-1] == ("hold_released", f"key:{office.key.id}", {"reason": "placed_in_error"})
    assert len(run("list").stdout.splitlines()) == 2
    assert len(run("list", "--include-lifted").stdout.splitlines()) == 3
    again = run("lift", hold["id"], "--reason", "other")
    assert (again.exit_code, again.stderr) == (1, "409 wrong_state: the hold was lifted already\n")


@pytest.mark.parametrize(
    ("content", "arguments", "exit_code", "said"),
    [
        ("{", (), 2, "person.json isn't JSON"),
        ("[]", (), 1, "/identifiers"),
        (json.dumps([{"kind": "email", "value": "no-mail"}]), (), 1, "/identifiers/0/value: malformed_email"),
        (json.dumps([{"kind": "email", "value": EMAIL}]), ("--until", "2020-01-01T00:00:00Z"), 1, "/until"),
        (json.dumps([{"kind": "email", "value": EMAIL}]), ("--until", "tomorrow"), 1, "/until"),
        (json.dumps([{"kind": "email", "value": EMAIL}]), ("--reason", "because"), 2, "'regulatory_request'"),
    ],
)
def test_an_impossible_hold_is_refused_with_the_reason(
    office: Office, run: Run, tmp_path: Path, content: str, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    person = tmp_path / "person.json"
    person.write_text(content)
    refused = run("place", "--identifiers", str(person), "--reason", "audit", *arguments)
    assert (refused.exit_code, said in refused.stderr) == (exit_code, True), refused.stderr
    assert office.rows("SELECT 1 FROM holds") == []


def test_help_explains_every_reason() -> None:
    assert set(holds.PLACE_REASONS) == set(HoldReason)
    assert set(holds.LIFT_REASONS) == set(LiftReason)
    for command, reasons in (("place", holds.PLACE_REASONS), ("lift", holds.LIFT_REASONS)):
        shown = " ".join(CliRunner().invoke(holds.app, [command, "--help"]).output.split())
        for reason, meaning in reasons.items():
            assert f"{reason.value}: {meaning}" in shown


def test_no_identifier_is_taken_from_the_command_line(office: Office, run: Run) -> None:
    person = json.dumps([{"kind": "email", "value": "ada@example.test"}])
    assert run("place", "--identifiers", person, "--reason", "audit").exit_code == 2
    assert run("place", "ada@example.test", "--reason", "audit").exit_code == 2
    assert office.rows("SELECT 1 FROM holds") == []
