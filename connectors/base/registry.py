"""The installed connectors, stand-ins and identity sources: ours and third parties' alike.

Decides that a broken, double or misnamed entry point stops the start, loudly: a system that silently isn't there is a
person who silently isn't erased. Does not decide which of them a configuration uses.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from connectors.base.config import ConfigurationError
from connectors.base.identity_source import OpenIdentitySource
from connectors.base.interface import Connector

CONNECTORS = "expunge.connectors"
SANDBOXES = "expunge.sandboxes"
IDENTITY_SOURCES = "expunge.identity_sources"

_Loaded = TypeVar("_Loaded")


class ConnectorLoadError(ConfigurationError):
    """An installed entry point can't be used; the text names the entry point and the reason."""


@cache
def connectors() -> Mapping[str, type[Connector]]:
    """Every installed connector by name. Raises ConnectorLoadError at the first one that can't be used."""
    return _load_all(CONNECTORS, _as_connector)


@cache
def sandboxes() -> Mapping[str, type[object]]:
    """Every installed stand-in by name. The harness, which knows what a stand-in is, checks the classes."""
    return _load_all(SANDBOXES, _as_class)


@cache
def identity_sources() -> Mapping[str, OpenIdentitySource]:
    """Every installed way to open an identity graph, by name."""
    return _load_all(IDENTITY_SOURCES, _as_opener)


def connector_class(name: str) -> type[Connector]:
    """The connector of that name. Raises ConfigurationError with the nearest installed name."""
    return named(connectors(), name, "connector")


def named(installed: Mapping[str, _Loaded], name: str, what: str) -> _Loaded:
    """`installed[name]`. Raises ConfigurationError with the nearest name, or with all of them."""
    if name in installed:
        return installed[name]
    near = difflib.get_close_matches(name, installed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(sorted(installed)) or 'none'}"
    raise ConfigurationError(f"no {what} is named {name!r}; {hint}")


def _load_all(group: str, check: Callable[[EntryPoint, Any], _Loaded]) -> Mapping[str, _Loaded]:
    loaded: dict[str, _Loaded] = {}
    origin: dict[str, str] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        if entry.name in loaded:
            raise ConnectorLoadError(f"{_place(entry)} is registered twice: {origin[entry.name]} and {entry.value}")
        try:
            target = entry.load()
        except Exception as error:
            # Whatever a plugin's import raises, the operator must learn which plugin it was.
            raise ConnectorLoadError(f"{_place(entry)} can't be loaded: {type(error).__name__}: {error}") from error
        loaded[entry.name] = check(entry, target)
        origin[entry.name] = entry.value
    return MappingProxyType(loaded)


def _place(entry: EntryPoint) -> str:
    return f"entry point {entry.name!r} of {entry.group} ({entry.value})"


def _as_connector(entry: EntryPoint, target: Any) -> type[Connector]:
    if not (isinstance(target, type) and issubclass(target, Connector)):
        raise ConnectorLoadError(f"{_place(entry)} is not a Connector")
    declared = getattr(getattr(target, "declaration", None), "name", None)
    if declared != entry.name:
        raise ConnectorLoadError(f"{_place(entry)} declares the name {declared!r}: the two must be equal")
    return target


def _as_class(entry: EntryPoint, target: Any) -> type[object]:
    if not isinstance(target, type):
        raise ConnectorLoadError(f"{_place(entry)} is not a class")
    return target


def _as_opener(entry: EntryPoint, target: Any) -> OpenIdentitySource:
    if not callable(target):
        raise ConnectorLoadError(f"{_place(entry)} is not callable")
    opener: OpenIdentitySource = target
    return opener
