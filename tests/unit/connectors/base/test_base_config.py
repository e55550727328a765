"""A system's configuration: unknown keys are errors with a suggestion, secrets come from elsewhere and never show."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.base.config import ConfigurationError, SystemModel, parse_model, resolve_secret
from connectors.base.destinations import Proxy
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease
from connectors.base.values import Batch, Visibility
from service.settings import load_settings

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


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("http://[::1/", "IPv6 address stands in brackets"),
        ("https://me:hunter2@acme.example", "no user and password"),
        ("https://me:hunter2@acme.example:notaport", "no user and password"),
        ("https://acme.example:notaport", "a port is a number"),
        ("https://acme.example/?key=hunter2", "no [?]"),
        ("https://acme.example/#hunter2", "no #"),
        ("https://acme .example", "doesn't belong in a URL"),
        ("https://", "no host name"),
        ("acme.example", "begins with https:// or http://"),
        ("duckdb:///hunter2", "begins with https:// or http://"),
        ("http://acme.example", "allow_plain_http"),
        ("https://127.0.0.1", "allow_private_hosts"),
        ("https://localhost:8443", "allow_private_hosts"),
        ("https://169.254.169.254", "never called"),
    ],
)
def test_an_address_that_cannot_be_called_is_refused_at_start(base_url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        Nothing.parse_system(entry(base_url=base_url))
    assert str(raised.value).startswith("systems[acme].base_url: ")
    assert "hunter2" not in str(raised.value)


def test_the_network_settings_of_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_TEST_PROXY", "http://me:hunter2@proxy.example:3128")
    system = Nothing.parse_system(
        entry(
            base_url="http://CRM.internal.example:8080/",
            allow_private_hosts=["CRM.internal.example", "[::1]"],
            allow_plain_http=True,
            proxy="env:EXPUNGE_TEST_PROXY",
            http2=False,
            timeout_seconds=30,
            deadline_seconds=90,
        )
    )
    assert system.network.allow_private_hosts == {"crm.internal.example", "::1"}
    assert (system.network.allow_plain_http, system.network.http2, system.deadline_seconds) == (True, False, 90)
    assert system.network.proxy == Proxy("proxy.example", 3128, (b"me", b"hunter2"))
    assert "hunter2" not in repr(system)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"allow_private_hosts": "127.0.0.1"}, r"systems\[acme\].allow_private_hosts: a list"),
        ({"allow_private_hosts": [5]}, "allow_private_hosts: a list"),
        ({"allow_private_hosts": ["https://crm.example"]}, "allow_private_hosts: an IPv6"),
        ({"allow_private_hosts": ["10.0.0.0/8"]}, "allow_private_hosts: the host is no host name"),
        ({"allow_plain_http": "yes"}, "allow_plain_http: true or false"),
        ({"http2": 2}, "http2: true or false"),
        ({"proxy": 3128}, "proxy: http://host:port"),
        ({"proxy": "https://me:hunter2@proxy.example"}, "proxy: a proxy is http://"),
        ({"proxy": "http://me:hunter2@[::1"}, "proxy: an IPv6"),
        ({"proxy": "env:EXPUNGE_TEST_NOT_SET"}, r"systems\[acme\].proxy: environment variable"),
        ({"deadline_seconds": 0}, "deadline_seconds: a time-out"),
        ({"timeout_seconds": 1e12}, "timeout_seconds: a time-out"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds: a time-out"),
        ({"timeout_seconds": 30, "deadline_seconds": 10}, "deadline_seconds: a call can't end before"),
        ({"allow_private_host": []}, "did you mean 'allow_private_hosts'"),
    ],
)
def test_a_bad_network_setting_names_its_key(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as raised:
        Nothing.parse_system(entry(**wrong))
    assert "hunter2" not in str(raised.value)


@pytest.mark.timeout(30)
def test_a_secret_file_must_be_a_regular_file(tmp_path: Path) -> None:
    """A pipe would be waited for without end."""
    pipe, binary, large = tmp_path / "pipe", tmp_path / "binary", tmp_path / "large"
    os.mkfifo(pipe)
    binary.write_bytes(b"\xff\xfe")
    large.write_bytes(b"x" * (1024 * 1024 + 1))
    for path, reason in (
        (pipe, "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (tmp_path, "directory"),
        (binary, "no UTF-8"),
        (large, "more than 1 MiB"),
        (tmp_path / "no\0name", "not a path"),
    ):
        with pytest.raises(ConfigurationError, match=reason) as raised:
            Nothing.parse_system(entry(credentials={"token": f"file:{path}"}))
        assert str(raised.value).startswith("systems[acme].credentials.token: ")


def test_a_secret_file_may_be_a_link_to_one(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links."""
    (tmp_path / "data").write_text(SECRET)
    (tmp_path / "token").symlink_to("data")
    assert resolve_secret(f"file:{tmp_path / 'token'}") == SECRET


def test_a_refused_configuration_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "expunge.toml"
    path.write_text('[[systems]]\nname = "support"\nconnector = "zendesk"\nbase_url = "http://[::1/"\n')
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path)
    assert str(raised.value).startswith("expunge.toml: systems[support].base_url: ")
