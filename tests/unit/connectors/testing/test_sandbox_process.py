"""`python -m connectors.testing.sandbox`: several stand-ins in a process of their own, from a spec, until SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import connectors.testing.sandbox.__main__ as process
from connectors.base.config import ConfigurationError
from tests.unit.connectors.testing.tiny_sandbox import TinySandbox

TOKEN = "control-token-1"


def write(path: Path, spec: Any) -> Path:
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "sandboxes", lambda: {"tiny": TinySandbox, "no_sandbox": str})


def test_a_process_serves_installed_sandboxes_until_sigterm(tmp_path: Path) -> None:
    sandboxes = {mount: {"kind": "mailchimp"} for mount in ("one", "two")}
    seed = write(tmp_path / "seed.json", {"lists": [{"id": "a1", "name": "News"}]})
    sandboxes["two"]["seed_file"] = str(seed)
    spec = write(tmp_path / "spec.json", {"control_token": TOKEN, "port": 0, "sandboxes": sandboxes})
    command = [sys.executable, "-m", "connectors.testing.sandbox", "--spec", str(spec)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            port = json.loads(child.stdout.readline())["port"]
            seen = {
                mount: httpx.get(
                    f"http://127.0.0.1:{port}/{mount}/__sandbox__/state",
                    headers={"x-sandbox-token": TOKEN},
                    trust_env=False,
                ).json()["lists"]
                for mount in sandboxes
            }
        finally:
            child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 0
        assert child.stdout.read() == ""
    assert seen["one"] == {}
    assert "a1" in seen["two"]


def test_a_spec_builds_and_seeds(tiny: None, tmp_path: Path) -> None:
    seed = write(tmp_path / "seed.json", {"1": "one"})
    entry = {"kind": "tiny", "options": {"x": 1}, "seed_file": str(seed)}
    spec = process.read_spec(write(tmp_path / "spec.json", {"control_token": TOKEN, "sandboxes": {"m": entry}}))
    assert (spec.control_token, spec.port) == (TOKEN, 0)
    assert spec.sandboxes["m"].options == {"x": 1}
    assert spec.sandboxes["m"].records()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"control_tokn": "x"}, "did you mean 'control_token'"),
        ({"control_token": ""}, "control_token"),
        ({"port": "80"}, "spec.port"),
        ({"port": 70000}, "spec.port"),
        ({"sandboxes": {}}, "at least one"),
        ({"sandboxes": {"": {"kind": "tiny"}, "b": {"kind": "tiny"}}}, "hides"),
        ({"sandboxes": {"m": {"kind": "tin"}}}, "did you mean 'tiny'"),
        ({"sandboxes": {"m": {"kind": "no_sandbox"}}}, "not a Sandbox"),
        ({"sandboxes": {"m": {"kind": "tiny", "seed": {}}}}, "unknown key"),
        ({"sandboxes": {"m": {"kind": "tiny", "seed_file": "/nowhere"}}}, "can't be read"),
        ({"sandboxes": {"m": "tiny"}}, "an object is required"),
    ],
)
def test_a_wrong_spec_is_named(tiny: None, tmp_path: Path, change: dict[str, Any], text: str) -> None:
    good = {"control_token": TOKEN, "sandboxes": {"m": {"kind": "tiny"}}}
    with pytest.raises(ConfigurationError, match=text):
        process.read_spec(write(tmp_path / "spec.json", {**good, **change}))


def test_a_seed_is_never_quoted(tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = write(tmp_path / "seed.json", '{"ada@example.test" "x"}')
    spec = {"control_token": TOKEN, "sandboxes": {"m": {"kind": "tiny", "seed_file": str(seed)}}}
    assert process.main(["--spec", str(write(tmp_path / "spec.json", spec))]) == 2
    assert "not JSON" in capsys.readouterr().err
    assert process.main(["--spec", str(write(tmp_path / "spec.json", "[]"))]) == 2
    assert "ada@" not in capsys.readouterr().err
