"""Hostile JSON is one of our errors, or harmless, in bounded memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.vendor_json import MAX_VALUES, is_vendor_json, parse_vendor_json, without_lone_surrogates

HOSTILE = {
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep but parsable": b"[" * 500 + b"]" * 500,
    "not a number": b'{"a": NaN}',
    "infinite": b'{"a": -Infinity}',
    "infinite by its exponent": b'{"a": 1e999}',
    "a float of many digits": b'{"a": 1.' + b"1" * 10_000 + b"}",
    "a huge integer": b'{"a": ' + b"9" * 5000 + b"}",
    "an integer that no database takes": b'{"a": 123456789012345678901234567890}',
    "not UTF-8": b'{"a": "\xff"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "cut off": b'{"a": [1, 2',
    "nothing": b"",
    "HTML": b"<html></html>",
    "too many values": b"[" + b"0," * MAX_VALUES + b"0]",
    "too many lists": b"[" + b"[]," * MAX_VALUES + b"0]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_an_answer_not_understood(name: str) -> None:
    with pytest.raises(AnswerNotUnderstood) as raised:
        parse_vendor_json(HOSTILE[name], status=200, effect_unknown=True)
    assert (raised.value.code, raised.value.status, raised.value.effect_unknown) == ("bad_json", 200, True)
    assert raised.value.__cause__ is None
    assert not is_vendor_json(HOSTILE[name])


def test_many_values_take_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(AnswerNotUnderstood):
            parse_vendor_json(HOSTILE["too many lists"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(HOSTILE["too many lists"])


@pytest.mark.parametrize("text", [r'{"\ud800": ["x\udfff", {"a": "\uD83D"}]}', r'"\ud83d\ud83d\ude00"'])
def test_lone_surrogates_are_replaced(text: str) -> None:
    value = parse_vendor_json(text.encode())
    json.dumps(value, ensure_ascii=False).encode()
    assert "\ufffd" in json.dumps(value, ensure_ascii=False)
    assert parse_vendor_json(json.loads(json.dumps(text))) == value
    assert json.loads(without_lone_surrogates(text.encode())) == value


def test_ordinary_json_is_what_it_says() -> None:
    value = {"id": 9007199254740993, "name": "Zoë 😀", "rows": [1.5, None, True, -1, {"deep": [[[]]]}]}
    for body in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert parse_vendor_json(body) == value
        assert without_lone_surrogates(body) in (body, json.dumps(value).encode())
    assert parse_vendor_json(b"\xef\xbb\xbf[]") == []
