"""Entries of the log: their fields, their bytes, and that no shape accepts personal data."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.entry import AuditEntry, NotAuditable, Position, decode_entry, digest_of, position_of
from service.domain.audit.events import EVENTS, EventData
from service.domain.audit.schema import AuditValue, Shape, instant_text, is_code, is_id, is_instant, is_pseudonym

REQUEST = "6f1c2a34-0b5d-4c1e-9a77-3d1f5b2c8e90"
SUBJECT = "9f86d081884c7d659a2feaa0c55ad015"
AT = datetime(2026, 11, 22, 11, 30, 5, 120, tzinfo=UTC)
PERSONAL = [
    "ada@example.test",
    "Ada Lovelace",
    "Ada",
    "+12125550123",
    "12125550123",
    "2125550123",
    "212.555.0123",
    "212-555-0123",
    "1-212-555-01-23",
    "4111111111111111",
    "4111111111111111111",
    "http://example.test/ada",
    "https://example.test",
    "/var/lib/ada",
    "10115 Berlin",
    "straße",
    "ada%40example.test",
    "a" * 81,
    "",
    "line\nbreak",
]


def entry(**changes: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "event": "request_denied",
        "object": "request",
        "object_id": REQUEST,
        "version": 2,
        "previous": "ab" * 32,
        "at": AT,
        "actor": "worker",
        "subject": SUBJECT,
        "data": {"reason": "not_verified"},
    }
    return AuditEntry(**(values | changes))


def test_the_bytes_are_canonical_and_fixed() -> None:
    """These bytes are in logs that can't change: whoever changes this test needs a format 2."""
    assert entry().encode().decode() == (
        '{"actor":"worker","at":"2026-11-22T11:30:05.000120Z","data":{"reason":"not_verified"},'
        '"event":"request_denied","format":1,"object":"request","object_id":"6f1c2a34-0b5d-4c1e-9a77-3d1f5b2c8e90",'
        f'"previous":"{"ab" * 32}","subject":"{SUBJECT}","version":2}}'
    )
    assert entry().digest() == hashlib.sha256(entry().encode()).hexdigest() == digest_of(entry().encode())


def test_an_instant_is_written_in_utc_whatever_zone_it_came_in() -> None:
    abroad = AT.astimezone(timezone(timedelta(hours=-8)))
    assert entry(at=abroad).encode() == entry().encode()
    assert instant_text(datetime(987, 1, 2, tzinfo=UTC)) == "0987-01-02T00:00:00.000000Z"
    with pytest.raises(NotAuditable):
        entry(at=AT.replace(tzinfo=None))


def test_an_entry_is_read_back_as_it_was_written() -> None:
    raw = entry().encode()
    assert decode_entry(raw)["data"] == {"reason": "not_verified"}
    assert position_of(raw) == Position("request", REQUEST, 2, "ab" * 32, SUBJECT)


def test_the_data_of_an_entry_cannot_change_after_it_was_checked() -> None:
    data: dict[str, AuditValue] = {"reason": "not_verified"}
    made = entry(data=data)
    data["reason"] = "ada@example.test"
    assert b"ada" not in made.encode()
    with pytest.raises(TypeError):
        made.data["reason"] = "ada@example.test"  # type: ignore[index] # that it isn't mutable is the point


def test_the_cache_of_entries_compares_types() -> None:
    """Checked fields are remembered, and True equals 1."""
    made = {"event": "suppression_removed", "object": "suppression"}
    assert b'"entries":1,' in entry(**made, data={"entries": 1, "reason": "withdrawn"}).encode()
    with pytest.raises(NotAuditable, match="not a whole number"):
        entry(**made, data={"entries": True, "reason": "withdrawn"})
    issued = {"event": "certificate_issued"}
    assert b'"final":true}' in entry(**issued, data={"certificate_hash": "ab" * 32, "final": True}).encode()
    with pytest.raises(NotAuditable, match="not a true or false"):
        entry(**issued, data={"certificate_hash": "ab" * 32, "final": 1})


def test_a_word_of_an_enum_is_spelled_as_its_value() -> None:
    class Word(str, Enum):  # noqa: UP042 - a StrEnum would spell itself
        ACTOR = "worker"
        EVENT = "request_denied"
        OBJECT = "request"
        REASON = "not_verified"

    enumerated = entry(event=Word.EVENT, object=Word.OBJECT, actor=Word.ACTOR, data={"reason": Word.REASON})
    assert enumerated.encode() == entry().encode()


@pytest.mark.parametrize("value", PERSONAL)
@pytest.mark.parametrize("field", ["object_id", "actor", "subject", "previous", "event", "object"])
def test_personal_data_cannot_enter_by_a_member(field: str, value: str) -> None:
    with pytest.raises(NotAuditable) as refusal:
        entry(**{field: value})
    assert not value or value not in str(refusal.value)


@pytest.mark.parametrize("value", PERSONAL)
def test_personal_data_cannot_enter_by_any_field_of_any_event(value: str) -> None:
    for name, rule in EVENTS.items():
        for field, shape in rule.fields.items():
            for held in (value, [value], [[value]]):
                data = {other: sample(each) for other, each in rule.fields.items()} | {field: held}
                with pytest.raises(NotAuditable) as refusal:
                    entry(event=name, object=min(rule.objects), data=data)
                assert not value or value not in str(refusal.value), shape


@given(st.from_regex(r"[a-z.]{1,20}@[a-z.]{1,20}", fullmatch=True) | st.from_regex(r"\+?[0-9][0-9 ()./-]{6,20}"))
def test_no_address_and_no_number_is_a_code_an_id_or_a_pseudonym(text: str) -> None:
    # Hex ids have 32, 40 or 64 digits without a break; a telephone number has at most 15 digits.
    if sum(char.isdigit() for char in text) <= 15 and ("@" in text or sum(char.isdigit() for char in text) >= 7):
        assert not is_code(text)
        assert not is_id(text)
        assert not is_pseudonym(text)


def sample(shape: Shape) -> AuditValue:
    """A value that the shape accepts, found by trying."""
    found: list[AuditValue] = [
        "code",
        REQUEST,
        "ab" * 32,
        7,
        True,
        instant_text(AT),
        "erasure",
        "jsonl",
        ["code"],
        [REQUEST],
        ["keep"],
        [[7]],
    ]
    return next(value for value in found if shape.accepts(value))


def test_the_type_of_event_data_agrees_with_the_table() -> None:
    typed = {name: _typed_by(shape) for rule in EVENTS.values() for name, shape in rule.fields.items()}
    assert get_type_hints(EventData) == typed
    for rule in EVENTS.values():
        assert {name: _typed_by(shape) for name, shape in rule.fields.items()}.items() <= typed.items()


def _typed_by(shape: Shape) -> object:
    """Return the type of the values that the shape accepts: an item of each type is tried."""
    items: tuple[tuple[type, tuple[AuditValue, ...]], ...] = (
        (bool, (True,)),
        (int, (1,)),
        (str, ("jsonl", "erasure", "keep", "email", "ab" * 16, str(UUID(int=1)), "2026-11-22T10:56:48.000000Z")),
    )
    for kind, values in items:
        for value in values:
            if shape.accepts(value):
                return kind
            if shape.accepts([value]):
                return list[kind]  # type: ignore[valid-type]  # computed
            if shape.accepts([[value]]):
                return list[list[kind]]  # type: ignore[valid-type]  # computed
    raise AssertionError(f"no value of the test is a {shape.name}")


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_of_the_table_can_be_logged(name: str) -> None:
    rule = EVENTS[name]
    for kind in rule.objects:
        full: Mapping[str, AuditValue] = {field: sample(shape) for field, shape in rule.fields.items()}
        least = {field: value for field, value in full.items() if not rule.fields[field].optional}
        for data in (full, least):
            made = entry(event=name, object=kind, data=data)
            assert encode_canonical(decode_entry(made.encode())) == made.encode()
        for field in least:
            with pytest.raises(NotAuditable, match="missing"):
                entry(event=name, object=kind, data={other: value for other, value in full.items() if other != field})


def test_an_event_outside_the_table_cannot_be_logged() -> None:
    for changes in (
        {"event": "request_forgotten"},
        {"object": "step"},
        {"data": {"reason": "not_verified", "ada@example.test": "code"}},
        {"data": {"reason": 5}},
        {"data": {"reason": None}},
        {"data": {}},
    ):
        with pytest.raises(NotAuditable) as refusal:
            entry(**changes)
        assert "ada" not in str(refusal.value)


def test_version_and_previous_go_together() -> None:
    assert entry(version=1, previous=None).version == 1
    for version, previous in ((1, "ab" * 32), (2, None), (0, None), (True, None), (2, "AB" * 32), (2, "ab" * 20)):
        with pytest.raises(NotAuditable):
            entry(version=version, previous=previous)


@pytest.mark.parametrize("actor", ["worker", "scheduler", "service", "cli", f"key:{REQUEST}", "operator:duty_officer"])
def test_actors_that_are_known(actor: str) -> None:
    assert entry(actor=actor).actor == actor


@pytest.mark.parametrize("actor", ["key", "key:", "somebody", "worker:ada@example.test", "key:a b", "KEY:abc"])
def test_actors_that_are_not(actor: str) -> None:
    with pytest.raises(NotAuditable):
        entry(actor=actor)


def test_instants_have_one_spelling() -> None:
    assert is_instant("2026-11-22T11:30:05.000120Z")
    for other in ("2026-11-22T11:30:05Z", "2026-11-22T11:30:05.00012Z ", "2026-13-22T11:30:05.000120Z", 5, None):
        assert not is_instant(other)


def changed_members(**changes: Any) -> bytes:
    return encode_canonical(json.loads(entry().encode()) | changes)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"[]",
        entry().encode() + b" ",
        entry().encode().replace(b",", b", ", 1),
        changed_members(format=2),
        changed_members(format=True),
        changed_members(more=1),
        changed_members(version=0),
        changed_members(version=True),
        changed_members(version="2"),
        changed_members(version=1),
        changed_members(previous=None),
        changed_members(previous="ab"),
        changed_members(previous=5),
        changed_members(at="yesterday"),
        changed_members(actor="Ada"),
        changed_members(subject="ada@example.test"),
        changed_members(object_id="ada@example.test"),
        changed_members(event="Ada"),
        changed_members(data=[]),
    ],
)
def test_bytes_that_no_entry_encodes_to_are_refused(raw: bytes) -> None:
    with pytest.raises(NotAuditable):
        decode_entry(raw)
    with pytest.raises(NotAuditable):
        position_of(raw)


DATA = b'"data":{"reason":"not_verified"}'


@pytest.mark.parametrize(
    ("data", "sound"),
    [
        (b'"data":{}', True),
        (b'"data":{"a":[1,true,null,"x"],"b":{"c":{}}}', True),
        (b'"data":{"a":"stra\xc3\x9fe"}', True),
        (b'"data":{"a":"},\\"event\\":\\"x\\""}', True),
        (b'"data":' + b'{"a":' * 30 + b"1" + b"}" * 30, True),
        (b'"data":' + b'{"a":' * 40 + b"1" + b"}" * 40, False),
        (b'"data":{"a":1},"e":{}', False),
        (b'"data":{"a":1},{"b":2}', False),
        (b'"data":{"a":1},"data":{"a":1}', False),
        (b'"data":{"b":1,"a":1}', False),
        (b'"data":{"a":1,"a":1}', False),
        (b'"data":{"a":1.5}', False),
        (b'"data":{"a":9007199254740992}', False),
        (b'"data":{"a": 1}', False),
        (b'"data":{"a":"\\u0061"}', False),
        (b'"data":{"a":"\xff"}', False),
        (b'"data":{"a":1}}', False),
        (b'"data":{{"a":1}', False),
        (b'"data":[]', False),
    ],
)
def test_a_place_is_read_from_exactly_the_bytes_that_are_an_entry(data: bytes, sound: bool) -> None:
    """The quick reading and the full one, on what they could differ in."""
    raw = entry().encode().replace(DATA, data)
    assert raw != entry().encode()
    assert (is_read(position_of, raw), is_read(decode_entry, raw)) == (sound, sound)


@given(st.data())
def test_the_quick_reading_refuses_whatever_the_full_one_refuses(data: st.DataObject) -> None:
    raw = bytearray(entry().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.sampled_from(PIECES))
        raw[place : place + data.draw(st.integers(0, 3))] = piece
    assert is_read(position_of, bytes(raw)) == is_read(decode_entry, bytes(raw))


PIECES = (
    b"",
    b"0",
    b"9",
    b"a",
    b"A",
    b'"',
    b",",
    b":",
    b"{",
    b"}",
    b"{}",
    b"null",
    b"-",
    b".",
    b" ",
    b"\\",
    b"\xff",
    b"@",
)


def is_read(reading: Callable[[bytes], object], raw: bytes) -> bool:
    try:
        reading(raw)
    except NotAuditable:
        return False
    return True


def test_an_entry_of_an_event_that_was_retired_is_still_read() -> None:
    assert decode_entry(changed_members(event="retired_event", data={"old": 1}))["event"] == "retired_event"


def test_an_entry_has_a_largest_size() -> None:
    long_list = ["a" * 80] * 500
    rule = EVENTS["review_opened"]
    assert rule.fields["reasons"].accepts(long_list)
    assert not rule.fields["reasons"].accepts([*long_list, "a"])
    assert replace(entry(), event="review_opened", data={"reasons": long_list}).encode()
    systems = {"plan": 1, "plan_hash": "ab" * 32, "identifiers": 1, "records": 1, "systems": long_list}
    with pytest.raises(NotAuditable, match="larger than"):
        entry(event="plan_frozen", data=systems | {"needs_approval": long_list})
