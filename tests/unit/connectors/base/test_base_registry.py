"""What is installed: a plugin arrives like ours; a broken, double or misnamed one stops the start."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from connectors.base import registry
from connectors.base.config import ConfigurationError
from connectors.base.registry import ConnectorLoadError
from tests.unit.connectors.base.fake_connector import FakeConnector

GOOD = EntryPoint("fake", "tests.unit.connectors.base.fake_connector:FakeConnector", registry.CONNECTORS)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    caches = (registry.connectors, registry.sandboxes, registry.identity_sources)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [e for e in entries if e.group == group])


def test_a_plugin_arrives_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GOOD)
    assert registry.connectors() == {"fake": FakeConnector}
    assert registry.connector_class("fake") is FakeConnector
    assert registry.connectors() is registry.connectors(), "read once"


def test_the_list_can_not_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GOOD)
    with pytest.raises(TypeError):
        registry.connectors()["other"] = FakeConnector  # type: ignore[index]  # the very thing under test


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("no_such_module_at_all:X", "ModuleNotFoundError"),
        ("tests.unit.connectors.base.fake_connector:NoSuchName", "AttributeError"),
        ("tests.unit.connectors.base.fake_connector:person", "not a Connector"),
        ("tests.unit.connectors.base.fake_connector:FakeClock", "not a Connector"),
    ],
)
def test_one_that_fails_stops_the_start_and_is_named(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    install(monkeypatch, GOOD, EntryPoint("broken", value, registry.CONNECTORS))
    with pytest.raises(ConnectorLoadError, match=f"'broken'.*{text}"):
        registry.connectors()
    with pytest.raises(ConnectorLoadError):
        registry.connector_class("fake")


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GOOD, EntryPoint("fake", "zzz:FakeConnector", registry.CONNECTORS))
    with pytest.raises(ConnectorLoadError, match="registered twice"):
        registry.connectors()


def test_the_declared_name_must_be_the_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, EntryPoint("fkae", GOOD.value, registry.CONNECTORS))
    with pytest.raises(ConnectorLoadError, match=r"'fkae'.*'fake'"):
        registry.connectors()


def test_an_unknown_name_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GOOD)
    with pytest.raises(ConfigurationError, match="did you mean 'fake'"):
        registry.connector_class("fakee")
    with pytest.raises(ConfigurationError, match="installed: fake"):
        registry.connector_class("zzz")


def test_sandboxes_and_identity_sources_come_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        EntryPoint("tiny", "tests.unit.connectors.testing.tiny_sandbox:TinySandbox", registry.SANDBOXES),
        EntryPoint("source", "tests.unit.connectors.base.fake_connector:person", registry.IDENTITY_SOURCES),
    )
    assert set(registry.sandboxes()) == {"tiny"}
    assert callable(registry.identity_sources()["source"])
    registry.sandboxes.cache_clear()
    install(monkeypatch, EntryPoint("tiny", "tests.unit.connectors.base.fake_connector:person", registry.SANDBOXES))
    with pytest.raises(ConnectorLoadError, match="not a class"):
        registry.sandboxes()
    registry.identity_sources.cache_clear()
    install(
        monkeypatch,
        EntryPoint("source", "tests.unit.connectors.base.fake_connector:DECLARATION", registry.IDENTITY_SOURCES),
    )
    with pytest.raises(ConnectorLoadError, match="not callable"):
        registry.identity_sources()
