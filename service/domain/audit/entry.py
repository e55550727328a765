"""One entry of the audit log: event, object, version, previous entry, instant and actor of one change.

Decides the form of an entry, as a value and as bytes, and that it holds no personal data. The counter and the hash of
the object's previous entry are columns of the changed row: the transaction that changes the row reads both from it,
writes version + 1 and `entry.hash()` back, and appends the entry. The table in `events` lists the events.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypedDict, TypeGuard

from service.domain.audit.canonical_json import LARGEST_INT, JsonValue, NotCanonical, decode_canonical
from service.domain.audit.events import EVENTS, EventData
from service.domain.audit.schema import (
    AuditValue,
    instant_text,
    is_actor,
    is_code,
    is_hex,
    is_id,
    is_instant,
    is_pseudonym,
)

FORMAT = 1
LARGEST_ENTRY_BYTES = 64 * 1024
_SCALARS = frozenset({str, int, bool, type(None)})
_MEMBERS = frozenset(
    {"actor", "at", "data", "event", "format", "object", "object_id", "previous", "subject", "version"}
)


class EntryMembers(TypedDict):
    """The members of an entry as its bytes hold them."""

    actor: str
    at: str
    data: EventData
    event: str
    format: int
    object: str
    object_id: str
    previous: str | None
    subject: str | None
    version: int


class NotAuditable(ValueError):  # noqa: N818 - says what is true of the entry
    """The log refuses the entry. The message names the field and the reason, never its value."""


@dataclass(frozen=True)
class AuditEntry:
    """One change of state, checked at construction against the table of events. Raises NotAuditable.

    `version` counts the entries of this object from 1; `previous` is the digest of the one before, None for the first.
    `actor` is `worker`, `scheduler`, `service`, `cli`, or `key:<id>`, `operator:<id>`. `subject` is the request's
    random pseudonym, by which an auditor finds all entries of one request but no name. Random ids are UUIDs or hex.
    """

    event: str
    object: str
    object_id: str
    version: int
    previous: str | None
    at: datetime
    actor: str
    subject: str | None = None
    data: Mapping[str, AuditValue] = field(default_factory=dict)
    _raw: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        data = dict(self.data)
        object.__setattr__(self, "data", MappingProxyType(data))
        self._check_place()
        object.__setattr__(self, "_raw", self._encoded(data))

    def encode(self) -> bytes:
        """Return the canonical bytes that are hashed into the tree."""
        return self._raw

    def _encoded(self, data: Mapping[str, AuditValue]) -> bytes:
        # No shape accepts a character that JSON escapes or a value without a canonical encoding. The text is written
        # in the members' canonical order, because that is faster than sorting them.
        who, previous, subject = _who_and_when(self.actor, self.at), self.previous, self.subject
        if _SCALARS.issuperset(map(type, data.values())):
            what = _known_what(self.event, self.object, tuple(data), *data.values())
        else:
            what = _what(self.event, self.object, data)
        before = '","previous":null,' if previous is None else '","previous":"' + previous + '",'
        whose = '"subject":null,' if subject is None else '"subject":"' + subject + '",'
        raw = f'{who}{what}{str.__str__(self.object_id)}{before}{whose}"version":{self.version:d}}}'.encode()
        if len(raw) > LARGEST_ENTRY_BYTES:
            raise NotAuditable(f"{self.event}: larger than {LARGEST_ENTRY_BYTES} bytes")
        return raw

    def digest(self) -> str:
        """Return SHA-256 of the canonical bytes in hex: the `previous` of this object's next entry."""
        return digest_of(self._raw)

    def hash(self) -> bytes:
        """Return the digest as 32 bytes, as the object's row stores it."""
        return hashlib.sha256(self._raw).digest()

    def _check_place(self) -> None:
        if isinstance(self.version, bool) or not 1 <= self.version <= LARGEST_INT:
            raise NotAuditable("version: counts from 1")
        if (self.previous is None) != (self.version == 1):
            raise NotAuditable("previous: None for version 1 and only for it")
        if not is_id(self.object_id):
            raise NotAuditable("object_id: not of its shape")
        if not (self.previous is None or _is_digest(self.previous)):
            raise NotAuditable("previous: not of its shape")
        if not (self.subject is None or is_pseudonym(self.subject)):
            raise NotAuditable("subject: not of its shape")


@lru_cache(maxsize=256)
def _who_and_when(actor: str, at: datetime) -> str:
    """Return an entry's checked members before its data; all entries of one transaction share them."""
    if at.tzinfo is None:
        raise NotAuditable("at: without a time zone")
    if not is_actor(actor):
        raise NotAuditable("actor: not of its shape")
    return f'{{"actor":"{str.__str__(actor)}","at":"{instant_text(at)}","data":{{'


def _what(event: str, object_: str, data: Mapping[str, AuditValue]) -> str:
    """Return an entry's members from its data up to its object's id, checked against the table of events."""
    rule = EVENTS.get(event)
    if rule is None:
        raise NotAuditable("event: not in the table of events")
    if object_ not in rule.objects:
        raise NotAuditable(f"{event}: doesn't happen to that kind of object")
    names, fields = data.keys(), rule.fields
    if not names <= fields.keys():
        # Their names aren't shown, because a key of the mapping may be any text, as a value may.
        unknown = len(names - fields.keys())
        raise NotAuditable(f"{event}: {unknown} fields that the table doesn't allow")
    if not names >= rule.required:
        raise NotAuditable(f"{event}.{min(rule.required - names)}: missing")
    for name, value in data.items():
        if not fields[name].accepts(value):
            raise NotAuditable(f"{event}.{name}: not a {fields[name].name}")
    said = ",".join([f'"{name}":{_json(data[name])}' for name in sorted(data)])
    event, object_ = str.__str__(event), str.__str__(object_)
    return f'{said}}},"event":"{event}","format":{FORMAT},"object":"{object_}","object_id":"'


@lru_cache(maxsize=4096, typed=True)
def _known_what(event: str, object_: str, names: tuple[str, ...], *values: AuditValue) -> str:
    """Return `_what` of fields' names and values, from a cache.

    Most entries of one batch have the same data.
    The cache is typed, because True equals 1 but is encoded differently. It takes scalars only, because it doesn't
    compare the types of a tuple's items.
    """
    return _what(event, object_, dict(zip(names, values, strict=True)))


class Position(NamedTuple):
    """The position of a stored entry in its object's chain, and the pseudonym of its request."""

    object: str
    object_id: str
    version: int
    previous: str | None
    subject: str | None


def digest_of(raw: bytes) -> str:
    """Return SHA-256 of an entry's bytes in hex; the tree uses another hash (merkle.leaf_hash)."""
    return hashlib.sha256(raw).hexdigest()


def decode_entry(raw: bytes) -> EntryMembers:
    """Return the members of an entry's bytes. Raises NotAuditable for bytes of another form.

    Checks the form only, not the table of events, because an entry stays valid when its row of the table changes.
    """
    try:
        members = decode_canonical(raw)
    except NotCanonical:
        raise NotAuditable("not canonical") from None
    if not _is_of_this_format(members):
        raise NotAuditable("not an entry of this format")
    if not _is_well_formed(members):
        raise NotAuditable("a member that isn't of its shape")
    return members


def _is_of_this_format(members: JsonValue) -> TypeGuard[EntryMembers]:
    """Return whether the value has the members of an entry.

    Their types are a promise of the writer: `_is_well_formed` tests each member, and only the table of events, which
    may have changed since, says the types of `data`.
    """
    return (
        isinstance(members, dict)
        and members.keys() == _MEMBERS
        and members["format"] is not True
        and members["format"] == FORMAT
    )


def _is_well_formed(members: EntryMembers) -> bool:
    version, previous = members["version"], members["previous"]
    return (
        is_code(members["event"])
        and is_code(members["object"])
        and is_id(members["object_id"])
        and is_instant(members["at"])
        and is_actor(members["actor"])
        and isinstance(members["data"], dict)
        and (members["subject"] is None or is_pseudonym(members["subject"]))
        and isinstance(version, int)
        and not isinstance(version, bool)
        and version >= 1
        and (previous is None) == (version == 1)
        and (previous is None or _is_digest(previous))
    )


# An entry of format 1, with `data` as one unparsed group. The members after `data` hold no brace and no bracket, so at
# most one match is possible.
_ENTRY = re.compile(
    rb'{"actor":"([a-z0-9_.:-]{1,99})","at":"([0-9T:.Z-]{27})","data":({.*}),"event":"([a-z0-9_.:-]{1,80})",'
    rb'"format":1,"object":"([a-z0-9_.:-]{1,80})","object_id":"([a-z0-9_.:-]{1,80})",'
    rb'"previous":(?:null|"([0-9a-f]{64})"),"subject":(?:null|"([0-9a-f-]{32,64})"),"version":([1-9][0-9]{0,15})}',
    re.DOTALL,
)
_LONGEST_KNOWN_DATA_BYTES = 512


def position_of(raw: bytes) -> Position:
    """Return an entry's position in its chain. Raises NotAuditable for the same bytes as `decode_entry`.

    Doesn't decode the bytes: that costs a quarter, and the sequencer reads every entry once.
    """
    found = _ENTRY.fullmatch(raw)
    if found is None:
        raise NotAuditable("not an entry of this format")
    actor, at, data, event, object_, object_id, previous, subject, version = found.groups()
    identity, number = object_id.decode(), int(version)
    pseudonym = None if subject is None else subject.decode()
    if not (
        _envelope_fits(actor, at, event, object_)
        and is_id(identity)
        and (pseudonym is None or is_pseudonym(pseudonym))
        and number <= LARGEST_INT
        and (previous is None) == (number == 1)
    ):
        raise NotAuditable("a member that isn't of its shape")
    if not (_known_data(data) if len(data) <= _LONGEST_KNOWN_DATA_BYTES else _is_data(data)):
        raise NotAuditable("not canonical")
    return Position(object_.decode(), identity, number, None if previous is None else previous.decode(), pseudonym)


@lru_cache(maxsize=4096)
def _envelope_fits(actor: bytes, at: bytes, event: bytes, object_: bytes) -> bool:
    # All entries of one transaction share these values.
    return (
        is_actor(actor.decode()) and is_instant(at.decode()) and is_code(event.decode()) and is_code(object_.decode())
    )


def _is_data(data: bytes) -> bool:
    try:
        # At the same depth as in the entry; the check of the keys refuses a text with more than one member.
        members = decode_canonical(b'{"data":%b}' % data)
    except NotCanonical:
        return False
    return isinstance(members, dict) and members.keys() == {"data"}


# Entries about the steps of one batch mostly differ in their ids only.
_known_data = lru_cache(maxsize=4096)(_is_data)


def _is_digest(value: str) -> bool:
    return is_hex(value) and len(value) == 64


def _json(value: AuditValue) -> str:
    """Return a field's value as JSON; no shape allows a text that needs an escape."""
    if isinstance(value, str):
        return '"' + value + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    return "[" + ",".join([_json(each) for each in value]) + "]"
