"""One encoding per value, and no other bytes for it."""

from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.audit.canonical_json import LARGEST_INT, NotCanonical, decode_canonical, encode_canonical

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INT, LARGEST_INT)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


def test_the_form_is_that_of_rfc_8785() -> None:
    """Sorted members, no spaces, and the string escapes of RFC 8785 §3.2.2.2's own example."""
    value = {"b": [None, True, False], "a": -0, "\n": '€$\x0f\nA\'B"\\\\"/'}
    expected = '{"\\n":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/","a":0,"b":[null,true,false]}'
    assert encode_canonical(value) == expected.encode()


def test_mappings_tuples_and_string_enums_are_encoded_by_value() -> None:
    class Colour(StrEnum):
        RED = "red"

    assert encode_canonical(MappingProxyType({"a": (Colour.RED,)})) == b'{"a":["red"]}'


@given(values)
def test_an_encoded_value_decodes_to_itself(value: Any) -> None:
    raw = encode_canonical(value)
    again = decode_canonical(raw)
    assert again == value
    assert encode_canonical(again) == raw


@given(st.binary(max_size=40))
def test_accepted_bytes_are_the_encoding_of_their_value(raw: bytes) -> None:
    try:
        value = decode_canonical(raw)
    except NotCanonical:
        return
    assert encode_canonical(value) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-0}',
        b'{"a":01}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u000A"',
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b"9007199254740992",
        '{"ä":1}'.encode(),
        b"",
        b"[",
        b"[" * 5_000 + b"]" * 5_000,
        b"9" * 5_000,
    ],
)
def test_another_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode_canonical(raw)


@pytest.mark.parametrize(
    "value", [1.5, {"a": 0.0}, {1: "a"}, {"ä": 1}, LARGEST_INT + 1, -LARGEST_INT - 1, "\ud800", b"a", {"a": {1, 2}}]
)
def test_a_value_outside_the_restricted_set_is_refused_without_being_shown(value: Any) -> None:
    with pytest.raises(NotCanonical) as refusal:
        encode_canonical(value)
    assert repr(value) not in str(refusal.value)


def test_nesting_has_a_limit() -> None:
    value: Any = []
    for _ in range(40):
        value = [value]
    with pytest.raises(NotCanonical):
        encode_canonical(value)
