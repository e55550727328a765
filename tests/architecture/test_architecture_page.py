"""The path of a request in docs/develop/ARCHITECTURE.md names real code: callers import what they call."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.architecture.house import ROOT, sources

DEVELOP = ROOT / "docs" / "develop"
ARCHITECTURE = (DEVELOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def path_of_a_request() -> list[str]:
    """The text of each numbered step."""
    section = re.search(r"^## The path of one erasure request$(.*?)^## ", ARCHITECTURE, flags=re.DOTALL | re.MULTILINE)
    assert section is not None
    return re.split(r"^\d+\. ", section[1], flags=re.MULTILINE)[1:]


def defined(path: str) -> set[str]:
    """Names that a module defines itself at its top level."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """Which files of the product each file imports, read from the source text."""
    trees = {source.path: source.tree for source in sources()}
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        files = {f"{name.replace('.', '/')}{end}" for name in names for end in (".py", "/__init__.py")}
        found[path] = files & trees.keys()
    return found


def reachable(path: str) -> set[str]:
    """The file itself and every file that it imports, directly or not."""
    seen, left = {path}, [path]
    while left:
        new = imports()[left.pop()] - seen
        seen |= new
        left += new
    return seen


def test_the_path_has_every_stage() -> None:
    named = {name for step in path_of_a_request() for _, name in _NAMED.findall(step)}
    stages = {"submit", "walk", "lease_steps", "execute_batch", "record_answers", "freeze_plans", "sequence_audit"}
    assert stages | {"seal_due_requests", "issue_certificate"} <= named


@pytest.mark.parametrize("page", sorted(DEVELOP.glob("*.md")), ids=lambda path: path.name)
def test_every_named_module_defines_the_named_thing(page: Path) -> None:
    for path, name in _NAMED.findall(page.read_text(encoding="utf-8")):
        if "/" in path:
            assert (ROOT / path).exists(), path
            assert not name or name in defined(path), f"{path}::{name}"


@pytest.mark.parametrize("step", path_of_a_request(), ids=lambda step: step.split("**")[1])
def test_each_step_names_only_modules_that_its_first_one_imports(step: str) -> None:
    first, *others = [path for path, _ in _NAMED.findall(step)]
    assert others
    assert set(others) <= reachable(first), first


def test_files_of_the_cycle_are_imported_by_the_task() -> None:
    section = re.search(r"^## The files of a step's cycle$(.*?)^## ", ARCHITECTURE, flags=re.DOTALL | re.MULTILINE)
    assert section is not None
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    files = {path for line in rows for path, _ in _NAMED.findall(line)}
    assert {"service/execution/lease.py", "service/execution/run_batch.py", "service/execution/record.py"} <= files
    # A connector is found by its entry point, and its kit and its HTTP client are imported by it.
    connector = {path for path in files if re.match(r"connectors/(mailchimp|base/(kit|toolkit|outbound))/", path)}
    assert connector
    assert files - connector <= reachable("workers/tasks/work.py")


def test_a_module_that_is_not_imported_is_not_reachable() -> None:
    assert "service/execution/run_batch.py" not in reachable("service/requests/seal.py")
    assert not any(path.startswith("service/execution/") for path in reachable("service/requests/seal.py"))


def test_the_glossary_has_one_row_for_each_word() -> None:
    text = (DEVELOP / "GLOSSARY.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| (?!word|---)([^|]+) \|", text, flags=re.MULTILINE)
    assert len(words) > 40
    assert len(words) == len(set(words))
