"""Every fault of a configuration is one line that names the file, the place and the reason, for every command alike."""

from __future__ import annotations

import copy
import datetime
import math
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.base.config import ConfigurationError
from service.cli.main import app
from service.cli.running.supervise import python
from service.settings import load_settings, parse_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "expunge.example.toml"
SECRET = "postgresql+psycopg://expunge:s3cr3t"

SYSTEM = b'[[systems]]\nname = "crm"\nconnector = "zendesk"\nbase_url = "https://a.example.test"\n'

FILES = {
    "not UTF-8": (b"[service]\n# caf\xe9\n", r"expunge\.toml is not UTF-8 \(line 2\)"),
    "UTF-16": ("[service]\n".encode("utf-16"), r"expunge\.toml is not UTF-8 \(line 1\)"),
    "not TOML": (b"[service]\nworkers == 2\n", r"expunge\.toml is not TOML: .*line 2"),
    "deep": (b"a = " + b"[" * 100_000, r"expunge\.toml is not TOML"),
    "a number without end": (b"a = " + b"9" * 5000, r"expunge\.toml is not TOML"),
    "too long": (b"#" * (4 * 1024 * 1024 + 1), r"expunge\.toml has more than 4 MiB"),
    "an unknown key": (b"[service]\nlisten_prot = 1\n", r"expunge\.toml: service: unknown key 'listen_prot'"),
    "a number in quotes": (b'[service]\nlisten_port = "8080"\n', r"expunge\.toml: service\.listen_port: .*integer"),
    "a negative duration": (b"[engine]\ntick_seconds = -1\n", r"expunge\.toml: engine\.tick_seconds: "),
    "an infinite duration": (b"[engine]\nlease_seconds = inf\n", r"expunge\.toml: engine\.lease_seconds: .*finite"),
    "an eternal duration": (
        b"[engine]\nlocate_timeout_seconds = 1e12\n",
        r"expunge\.toml: engine: locate_timeout.*century",
    ),
    "a section that is none": (b"service = 3\n", r"expunge\.toml: service: a table is required"),
    "another database": (
        b'[database]\nurl = "mysql://a/b"\n',
        r"expunge\.toml: database\.url: .*postgresql\+psycopg://",
    ),
    "no database": (f'[database]\nkey_url = "{SECRET}@a"\n'.encode(), r"expunge\.toml: database\.key_url: .*database"),
    "a port that can't be": (
        f'[database]\nurl = "{SECRET}@a:99999/b"\n'.encode(),
        r"expunge\.toml: database\.url: .*port",
    ),
    "another broker": (b'[broker]\nurl = "amqp://a"\n', r"expunge\.toml: broker\.url: .*redis:// or rediss://"),
    "an unknown connector": (
        b'[[systems]]\nname = "crm"\nconnector = "salesfroce"\n',
        r"expunge\.toml: systems\[crm\]\.connector: .*'salesforce'",
    ),
    "a system without connector": (b'[[systems]]\nname = "crm"\n', r"expunge\.toml: systems\[crm\]\.connector: "),
    "a system's odd order": (
        SYSTEM + b'order = "1"\ncredentials = { email = "a@example.test", api_token = "t" }\n',
        r"expunge\.toml: systems\[crm\]\.order: a whole number",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_fault_is_told_with_file_place_and_reason(name: str, tmp_path: Path) -> None:
    content, expected = FILES[name]
    (tmp_path / "expunge.toml").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        load_settings(tmp_path / "expunge.toml")
    told = str(raised.value)
    assert re.match(expected, told), told
    assert "s3cr3t" not in told


def test_a_directory_and_a_missing_file_are_told(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none.toml", "No such file or directory")):
        with pytest.raises(ConfigurationError, match=f"{path.name} can't be read: {reason}"):
            load_settings(path)


def test_a_byte_order_mark_and_foreign_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "expunge.toml"
    path.write_bytes(b"\xef\xbb\xbf[service]\r\nworkers = 2\r\n")
    assert load_settings(path).service.workers == 2


def test_what_comes_from_outside_is_read_as_its_keys_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "3")
    monkeypatch.setenv("ALWAYS", "true")
    monkeypatch.setenv("CONTROLLER", "12345")
    loaded = parse_settings(
        {"service": {"workers": "env:WORKERS", "controller": "env:CONTROLLER"}, "approval": {"always": "env:ALWAYS"}}
    )
    assert (loaded.service.workers, loaded.service.controller, loaded.approval.always) == (3, "12345", True)
    monkeypatch.setenv("WORKERS", "three")
    with pytest.raises(ConfigurationError, match=r"^service\.workers: ") as raised:
        parse_settings({"service": {"workers": "env:WORKERS"}})
    assert "three" not in str(raised.value)


def test_one_column_or_several_are_taken() -> None:
    table = {"name": "shop.customers", "identifiers": {"email": ["mail", "mail_2"], "phone": "phone"}, "key": ["id"]}
    entry = {"name": "shop", "connector": "warehouse", "base_url": "duckdb:///a.duckdb", "policy": {"tables": [table]}}
    (system,) = parse_settings({"systems": [entry]}).systems
    assert system.config.policy.model_dump()["tables"][0]["identifiers"]["email"] == ("mail", "mail_2")


WRONG: tuple[Any, ...] = (
    "a text", "", "8080", -1, 0, 10**30, -(10**30), 1e300, math.inf, math.nan, True, [], [[]], [1], {}, {"a": 1},
    datetime.date(2026, 1, 1), "env:NOT_SET_ANYWHERE", "file:/nowhere/at/all", "file:/", "\0", "http://[", "x" * 10_000,
)  # fmt: skip


def test_any_value_at_any_place_is_taken_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for variable in set(re.findall(r'"env:([A-Z_]+)"', text)):
        monkeypatch.setenv(variable, "0123456789abcdef-us1")
    table, refused = tomllib.loads(text), 0
    for place in _places(table):
        for value in WRONG:
            changed = copy.deepcopy(table)
            inner = changed
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = value
            told = _told(changed)
            refused += told is not None
            assert told is None or told.startswith(str(place[0])), (place, value, told)
    assert refused > 500


def _told(table: dict[str, Any]) -> str | None:
    try:
        parse_settings(table)
    except ConfigurationError as error:
        return str(error)
    return None


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _places(inner, (*place, name))


NOT_UTF_8 = "expunge.toml is not UTF-8 (line 2): save it in this encoding"
COMMANDS = (
    ("up",),
    ("workers",),
    ("systems", "check"),
    ("keys", "list"),
    ("audit", "anchor"),
    ("audit", "replay"),
    ("connector", "run", "zendesk", "--subjects", os.devnull, "--operation", "locate"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_reads_it_alike(command: tuple[str, ...], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, _broken(command, tmp_path))
    assert (done.exit_code, done.stderr.strip()) == (2, NOT_UTF_8)


def test_a_process_ends_like_its_command(tmp_path: Path) -> None:
    command = python("-m", "service.cli.main", *_broken(("up",), tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr.strip()) == (2, NOT_UTF_8)


def _broken(command: tuple[str, ...], directory: Path) -> list[str]:
    subjects = directory / "people.jsonl"
    subjects.write_text('{"subject": "a", "identifiers": [{"kind": "email", "value": "a@example.test"}]}\n')
    config = directory / "expunge.toml"
    config.write_bytes(b"[service]\n# caf\xe9\n")
    return [*(str(subjects) if part == os.devnull else part for part in command), "--config", str(config)]
