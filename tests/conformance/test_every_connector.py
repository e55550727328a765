"""No connector without the suite: an installed one that nobody tests here fails this file; so does an empty list."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

from connectors.base.registry import connectors, identity_sources, sandboxes
from connectors.testing.conformance import ConformanceSuite
from connectors.testing.sandbox import Sandbox


def test_a_connector_is_installed() -> None:
    assert connectors()


@pytest.mark.parametrize("name", sorted(connectors()))
def test_every_connector_has_its_bench(name: str) -> None:
    path = Path(__file__).parent / f"test_conformance_{name}.py"
    assert path.exists(), f"the connector {name} has no {path.name}"
    spec = importlib.util.spec_from_file_location(f"bench_of_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suites = [
        found
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, ConformanceSuite) and found is not ConformanceSuite and found.__name__.startswith("Test")
    ]
    assert suites, f"{path.name} runs no ConformanceSuite"
    assert all(suite.vendor.name == name for suite in suites)


def test_every_sandbox_is_one() -> None:
    assert all(issubclass(found, Sandbox) for found in sandboxes().values())


def test_identity_sources_are_installed() -> None:
    assert identity_sources()
