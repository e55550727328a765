"""A system's configuration: unknown keys are errors with a suggestion, secrets come from elsewhere and never show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.base.config import ConfigurationError, SystemModel, parse_model, resolve_secret
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease
from connectors.base.values import Batch, Visibility

SECRET = "hunter2-hunter2"


class Credentials(SystemModel):
    token: SecretStr
    account: int = 1


class Nothing(Connector):
    declaration = Declaration(
        "nothing",
        frozenset({"email"}),
        frozenset(),
        ErasesBy.RECORDS,
        {},
        delays=Delays(poll_every=timedelta(seconds=9)),
    )
    Credentials = Credentials

    def check_credentials(self) -> Visibility:
        raise NotImplementedError

    def locate(self, batch: Batch) -> Findings:
        raise NotImplementedError

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        raise NotImplementedError

    def confirm_absence(self, batch: Batch) -> Answers:
        raise NotImplementedError


def entry(**more: Any) -> dict[str, Any]:
    good = {"name": "acme", "connector": "nothing", "base_url": "https://x.test/", "credentials": {"token": SECRET}}
    return {**good, **more}


def test_a_good_entry() -> None:
    system = Nothing.parse_system(entry(delays={"confirm_after": 2}, timeout_seconds=3))
    assert system.base_url == "https://x.test"
    assert system.timeout_seconds == 3.0
    connector = Nothing(system)
    assert connector.delay("confirm_after") == timedelta(seconds=2)
    assert connector.delay("poll_every") == timedelta(seconds=9)
    assert connector.calls == 0
    assert SECRET not in repr(system) + repr(connector)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"base_ur": "x"}, "did you mean 'base_url'"),
        ({"base_url": ""}, "base_url: a text is required"),
        ({"name": 3}, "name: a text is required"),
        ({"credentials": {"tokn": SECRET}}, "did you mean 'token'"),
        ({"credentials": {}}, "credentials.token"),
        ({"credentials": {"token": SECRET, "account": SECRET}}, "credentials.account"),
        ({"policy": {"x": 1}}, "unknown key"),
        ({"delays": {"confirm_aftr": 1}}, "did you mean 'confirm_after'"),
        ({"delays": {"confirm_after": -1}}, "0 or more"),
        ({"delays": {"confirm_after": True}}, "number of seconds"),
        ({"timeout_seconds": 0}, "above 0"),
        ({"timeout_seconds": "5"}, "above 0"),
        ({"timeout_seconds": True}, "above 0"),
    ],
)
def test_a_wrong_entry_is_named_and_its_secret_is_not(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as raised:
        Nothing.parse_system(entry(**wrong))
    assert SECRET not in str(raised.value)


def test_secrets_come_from_the_environment_and_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    for source in ("env:ACME_TOKEN", f"file:{path}"):
        assert parse_model(Credentials, {"token": source}, "x").token.get_secret_value() == SECRET
    assert resolve_secret("plain") == "plain"
    assert resolve_secret(5) == 5


@pytest.mark.parametrize("source", ["env:EXPUNGE_TEST_NOT_SET", "file:/nowhere/at/all"])
def test_a_secret_that_is_not_there_is_an_error(source: str) -> None:
    with pytest.raises(ConfigurationError):
        resolve_secret(source)
