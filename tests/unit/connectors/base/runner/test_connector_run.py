"""`expunge connector run`: a line per person, an exit code that says what is left to do, no value ever echoed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

import service.cli.connector as command
from connectors.base.config import NoPolicy, SystemConfig
from connectors.base.errors import CredentialsRefused
from connectors.base.runner import Outcome
from connectors.base.values import Answer, Left, Located, Record
from tests.unit.connectors.base.fake_connector import FakeConnector

ADA = "ada@example.test"


class Scripted(FakeConnector):
    answer: ClassVar[Any] = Answer.erased({"user": 1})
    closed: ClassVar[int] = 0
    Credentials = NoPolicy

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(
            {"locate": lambda s, *_: Located((Record("user", s.ref),), {"user": 1}), "erase": lambda *_: self.answer}
        )
        self.system = system

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    kind = type("Kind", (Scripted,), {"closed": 0})
    monkeypatch.setattr(command, "connector_class", lambda name: kind)
    return kind


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    config, people = tmp_path / "system.toml", tmp_path / "people.jsonl"
    system = '[[systems]]\nname = "f"\nconnector = "fake"\nbase_url = "https://x.example"\n'
    config.write_text(f"{system}[systems.delays]\nconfirm_after = 0\n")
    lines = [
        {"subject": ref, "identifiers": [{"kind": "email", "value": email}]}
        for ref, email in (("s1", ADA), ("s2", "bob@example.test"))
    ]
    people.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    return config, people


def call(files: tuple[Path, Path], *more: str, operation: str = "erase") -> Any:
    arguments = ["run", "fake", "--config", str(files[0]), "--subjects", str(files[1]), "--operation", operation, *more]
    return CliRunner().invoke(command.app, arguments)


def test_json_is_a_line_per_person_and_a_last_one(files: tuple[Path, Path], scripted: type[Scripted]) -> None:
    result = call(files, "--json")
    assert result.exit_code == 0, result.output
    *people, totals = [json.loads(line) for line in result.stdout.splitlines()]
    assert [p["subject"] for p in people] == ["s1", "s2"]
    assert people[0] == {
        "subject": "s1",
        "outcome": "erased_verified",
        "reason": None,
        "records": {"user": 1},
        "left": [],
        "not_covered": [],
    }
    assert set(totals) == {"calls", "seconds"}
    assert totals["calls"] == 3
    assert scripted.closed == 1


def test_pending_is_3_with_a_time_to_look(files: tuple[Path, Path], scripted: type[Scripted]) -> None:
    scripted.answer = Answer.accepted(datetime.now(UTC) + timedelta(hours=1), resumes=True)
    result = call(files, "--json", "--wait", "0")
    assert result.exit_code == 3
    line = json.loads(result.stdout.splitlines()[0])
    assert line["outcome"] == "accepted"
    assert datetime.fromisoformat(line["look_again_at"]).tzinfo is not None


@pytest.mark.parametrize(
    "answer",
    [
        CredentialsRefused("forbidden", status=403),
        Answer.ambiguous("staff_account"),
        Answer.partial((Left("user", "7", "locked"),)),
        Answer.not_addressable(),
    ],
)
def test_what_needs_a_human_is_1(files: tuple[Path, Path], scripted: type[Scripted], answer: Any) -> None:
    scripted.answer = answer
    assert call(files, "--json").exit_code == 1


def test_a_human_outweighs_a_wait() -> None:
    assert command.exit_code({Outcome.PARKED: 1, Outcome.ACCEPTED: 5}) == 1
    assert command.exit_code({Outcome.ACCEPTED: 1, Outcome.ERASED_VERIFIED: 5}) == 3
    assert command.exit_code({Outcome.RETAINED: 1, Outcome.ABSENT: 1, Outcome.PARKED: 0}) == 0


def test_the_table_names_everybody_and_prints_no_identifier(files: tuple[Path, Path], scripted: type[Scripted]) -> None:
    scripted.answer = Answer.partial((Left("user", "7", "locked"),))
    result = call(files)
    assert "s1" in result.stdout
    assert "parked" in result.stdout
    assert "calls" in result.stderr
    assert ADA not in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: an object"),
        ('{"subject": "s2"}', "line 2: identifiers"),
        ('{"subject": "s2", "identifiers": []}', "line 2: identifiers"),
        ('{"subject": "", "identifiers": [{"kind": "email", "value": "x"}]}', "line 2: subject"),
        ('{"subject": "s1", "identifiers": [{"kind": "email", "value": "x"}]}', "line 2: this subject stands"),
        ('{"subject": "s2", "identifiers": [{"kind": "email"}]}', "line 2: identifiers[0]: value"),
        ('{"subject": "s2", "identifiers": [{"kind": "email", "value": 5}]}', "line 2: identifiers[0]: value"),
        ('{"subject": "s2", "identifiers": ["eve@example.test"]}', "line 2: identifiers[0]: an object"),
        ('{"eve@example.test": 1, "subject": "s2", "identifiers": [{}]}', "line 2: unknown key; known keys"),
    ],
)
def test_a_wrong_line_is_numbered_and_not_echoed(files: tuple[Path, Path], text: str, said: str) -> None:
    files[1].write_text(files[1].read_text().split("\n")[0] + "\n" + text + "\n")
    result = call(files, "--json")
    assert result.exit_code == 2
    assert said in result.stderr
    assert ADA not in result.output
    assert "eve@" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[systems]\nname = "hunter2"', "not TOML"),
        ("", "exactly one"),
        ("[systems]\nname = 'f'", "exactly one"),
        ("other = 1", "unknown key 'other'"),
        ('[[systems]]\nname = "f"\nbase_ur = "x"', "did you mean 'base_url'"),
        ('[[systems]]\nname = "f"\nbase_url = "https://x.example"\nconnector = "zendesk"', "isn't 'fake'"),
    ],
)
def test_a_wrong_configuration_is_2(files: tuple[Path, Path], text: str, said: str) -> None:
    files[0].write_text(text)
    result = call(files)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "hunter2" not in result.output


def test_usage_errors_are_2(files: tuple[Path, Path]) -> None:
    assert call(files, operation="explode").exit_code == 2
    assert call((files[0], files[1].with_name("nowhere"))).exit_code == 2
    assert call(files, operation="suppress").exit_code == 2, "the connector doesn't offer it"
    files[1].write_text("\n")
    assert "holds no subject" in call(files).stderr
