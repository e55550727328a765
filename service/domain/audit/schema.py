"""The allowed shapes of a value in an audit entry. No shape accepts personal data.

Decides value by value; the table in `events` has the shape of each field. The log can never be changed, so it accepts
no value that might have to be deleted later: no free text, no e-mail address, no text like a phone number, no URL.
Codes are lower case without '@', '/', '+' or spaces and hold at most six digits. Random ids are UUIDs or hex of a fixed
length, which is longer than any telephone number (15 digits at most, ITU-T E.164) or card number (19 at most). A shape
can't distinguish a code from a person's name in lower case, so the values of CODE fields come from the service's own
tables and the configuration, never from a request or a vendor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from connectors.base.values import is_identifier_kind
from service.domain.audit.canonical_json import LARGEST_INT

AuditValue: TypeAlias = "str | int | bool | Sequence[AuditValue] | None"

# At most six digits among other characters; possessive, so that a refusal costs no more than a match.
_CODE = re.compile(r"(?:[a-z_.:-]*+[0-9]){0,6}+[a-z_.:-]*+")
_LONGEST_CODE = 80
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{8}(?:[0-9a-f]{24})?)?")
_PSEUDONYM = re.compile(f"{_UUID.pattern}|{_HEX.pattern}")
LONGEST_LIST = 500
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_ACTORS = frozenset({"worker", "scheduler", "service", "cli"})
_ACTORS_WITH_ID = frozenset({"key", "operator", "cli", "worker"})


@dataclass(frozen=True)
class Shape:
    """The values that a field accepts; `name` describes them in a refusal."""

    name: str
    accepts: Callable[[AuditValue], bool]
    optional: bool = False


def instant_text(at: datetime) -> str:
    """Return the log's only spelling of an instant, in UTC: `2026-11-22T10:56:48.000000Z`."""
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return _utc_text(at.astimezone(UTC))


@lru_cache(maxsize=64)
def _utc_text(at: datetime) -> str:
    # All entries of one transaction have the same instant.
    return f"{at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def is_instant(value: AuditValue) -> bool:
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_uuid(value: AuditValue) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def is_hex(value: AuditValue) -> bool:
    """Return whether the value is hex of 32, 40 or 64 digits."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def is_code(value: AuditValue) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_CODE and _is_code(value)


@lru_cache(maxsize=4096)
def _is_code(value: str) -> bool:
    # Cached, because states, reasons, phases and systems are the same few hundred words.
    return _CODE.fullmatch(value) is not None


def is_id(value: AuditValue) -> bool:
    """Return whether the value is a UUID, hex of 32, 40 or 64 digits, or a code (a system's name)."""
    return is_pseudonym(value) or is_code(value)


def is_pseudonym(value: AuditValue) -> bool:
    """Return whether the value has the form of a random id: a UUID, or hex of at least 128 bits."""
    return isinstance(value, str) and _PSEUDONYM.fullmatch(value) is not None


def is_actor(value: AuditValue) -> bool:
    """Return whether the value is an actor's name.

    That is `worker`, `scheduler`, `service` or `cli`, or `key:<id>`, `operator:<id>`, `cli:<id>`, `worker:<id>`.
    """
    if not isinstance(value, str):
        return False
    if value in _ACTORS:
        return True
    kind, colon, identity = value.partition(":")
    return bool(colon) and kind in _ACTORS_WITH_ID and is_id(identity)


def _is_count(value: AuditValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INT


CODE = Shape("code", is_code)
UUID = Shape("uuid", is_uuid)
HEX = Shape("hex of 32, 40 or 64 digits", is_hex)
ID = Shape("id", is_id)
COUNT = Shape("whole number", _is_count)
FLAG = Shape("true or false", lambda value: isinstance(value, bool))
INSTANT = Shape("instant", is_instant)
KIND = Shape("identifier kind", lambda value: isinstance(value, str) and is_identifier_kind(value))


def one_of(*values: str) -> Shape:
    allowed = frozenset(values)
    return Shape(f"one of {len(allowed)} words", lambda value: isinstance(value, str) and value in allowed)


def list_of(item: Shape) -> Shape:
    """Return the shape of a list of at most 500 values of one shape."""
    accepts = item.accepts
    return Shape(
        f"list of {item.name}",
        lambda value: isinstance(value, (list, tuple)) and len(value) <= LONGEST_LIST and all(map(accepts, value)),
    )


def optional(shape: Shape) -> Shape:
    """Return the shape of a field that may be None or missing."""
    accepts = shape.accepts
    return Shape(shape.name, lambda value: value is None or accepts(value), optional=True)


@dataclass(frozen=True)
class EventRule:
    """The kinds of object that an event can happen to, its fields, and the names of required fields."""

    objects: frozenset[str]
    fields: Mapping[str, Shape]
    required: frozenset[str]


def event(objects: str, **fields: Shape) -> EventRule:
    """Return a row of the table of events; `objects` are separated by spaces."""
    required = frozenset(name for name, shape in fields.items() if not shape.optional)
    return EventRule(frozenset(objects.split()), MappingProxyType(fields), required)
