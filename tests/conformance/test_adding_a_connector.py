"""The tutorial of ADDING_A_CONNECTOR.md: its files, in a package outside this project, pass the suite."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from connectors import base

_TUTORIAL = Path(base.__file__).parents[1] / "ADDING_A_CONNECTOR.md"
_FILE = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)
_MOST_LINES = 120
_INSTALLED = "installed"


def files() -> dict[str, str]:
    return dict(_FILE.findall(_TUTORIAL.read_text(encoding="utf-8")))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    assert "touch acme/__init__.py" in _TUTORIAL.read_text(encoding="utf-8")
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").touch()
    for name, text in files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    # As the text installs it, but beside this environment, which other tests use at the same time.
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run(
        [*command, "--target", str(tmp_path / _INSTALLED), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tmp_path


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package / _INSTALLED)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_the_tutorials_files_are_all_there() -> None:
    assert list(files()) == ["acme/connector.py", "acme/sandbox.py", "pyproject.toml", "test_acme.py"]
    assert all(text.count("\n") <= _MOST_LINES for text in files().values())


@pytest.mark.slow(seconds=14)
def test_the_tutorials_connector_passes_the_suite(package: Path) -> None:
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py")
    assert done.returncode == 0, done.stdout[-3000:]
    passed, skipped = re.findall(r"(\d+) passed, (\d+) skipped", done.stdout)[0]
    assert int(passed) > 50
    assert f"`{passed} passed, {skipped} skipped`" in _TUTORIAL.read_text(encoding="utf-8")


def test_the_connector_is_tried_on_its_stand_in_as_the_text_says(package: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", _TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "--operation erase" in block)
    (package / "expunge").mkdir()
    (package / "expunge" / ".venv").symlink_to(sys.prefix)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A busy machine needs longer than a reader's to start the stand-in.
    waited = block.replace("9001", str(port)).replace(
        "sleep 5", "until grep -q systems system.toml; do sleep 0.1; done"
    )
    done = subprocess.run(
        ["bash", "-e", "-c", f"trap 'kill %1 2>/dev/null || true' EXIT\n{waited}"],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package / _INSTALLED), "EXPUNGE": str(package / "expunge")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    located, _, _, erased = done.stdout.splitlines()
    assert json.loads(located)["outcome"] == "located"
    assert erased.split("\t")[:4] == ["s1", "erased_verified", "", "1 customer, 1 order"]


def test_without_an_exact_match_the_tutorials_suite_fails(package: Path) -> None:
    connector = package / "acme" / "connector.py"
    text = connector.read_text(encoding="utf-8")
    assert 'equals="email"' in text
    connector.write_text(text.replace('equals="email"', "equals=None"), encoding="utf-8")
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py", "-k", "look_alikes_alone")
    assert done.returncode == 1, done.stdout[-3000:]
    assert "1 failed" in done.stdout
