"""Reads what `expunge connector run` is given: one system's configuration and a file of people.

Decides the two forms and what is wrong with a file. Errors name file, line and key and never echo a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from connectors.base.config import ConfigurationError, check_keys
from connectors.base.interface import Connector
from connectors.base.pacing import LocalPacer
from connectors.base.values import Identifier, Subject
from service.configuration.file import read_configuration

_SUBJECT_KEYS = ("subject", "identifiers")
_IDENTIFIER_KEYS = ("kind", "value")


def open_connector(kind: type[Connector], path: Path) -> Connector:
    """Return the connector of the only `[[systems]]` entry of a file, with a pacer of its own.

    Raises ConfigurationError.
    """
    table = read_configuration(path)
    check_keys(table, ("systems",), path.name)
    systems = table.get("systems")
    if not isinstance(systems, list) or len(systems) != 1 or not isinstance(systems[0], dict):
        raise ConfigurationError(f"{path.name}: exactly one [[systems]] entry is required")
    entry: Mapping[str, object] = systems[0]
    if entry.get("connector", kind.declaration.name) != kind.declaration.name:
        raise ConfigurationError(f"{path.name}: systems[0].connector isn't {kind.declaration.name!r}")
    try:
        config = kind.parse_system({"connector": kind.declaration.name, **entry})
    except ConfigurationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None
    return kind(replace(config, pacer=LocalPacer(kind.limits(config))))


def read_subjects(path: Path) -> tuple[Subject, ...]:
    """The people of a JSON Lines file, one a line. Raises ConfigurationError with the line's number."""
    people: dict[str, Subject] = {}
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        subject = _subject(line, where)
        if subject.ref in people:
            raise ConfigurationError(f"{where}: this subject stands in the file twice")
        people[subject.ref] = subject
    if not people:
        raise ConfigurationError(f"{path.name}: holds no subject")
    return tuple(people.values())


def _subject(line: str, where: str) -> Subject:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{where}: not JSON") from None
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: an object is required")
    _only_known(entry, _SUBJECT_KEYS, where)
    identifiers = entry.get("identifiers")
    if not isinstance(identifiers, list) or not identifiers:
        raise ConfigurationError(f"{where}: identifiers: a list with at least one is required")
    return Subject(
        _text(entry, "subject", where),
        tuple(_identifier(each, f"{where}: identifiers[{place}]") for place, each in enumerate(identifiers)),
    )


def _identifier(entry: object, where: str) -> Identifier:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: an object is required")
    _only_known(entry, _IDENTIFIER_KEYS, where)
    return Identifier(_text(entry, "kind", where), _text(entry, "value", where))


def _only_known(entry: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    """Refuse unknown keys without their names, because a misplaced key in such a file may be personal."""
    if not set(entry) <= set(known):
        raise ConfigurationError(f"{where}: unknown key; known keys: {', '.join(known)}")


def _text(entry: Mapping[str, object], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{where}: {key}: a text is required")
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path.name}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: not UTF-8") from None
