"""One encoding per value, in the style of RFC 8785, for all data that is hashed or signed.

Decides the bytes of a value and refuses all other bytes for it. Values: str, int within +-(2**53 - 1), bool, None,
list, and dict with ASCII keys. No floats, because implementations disagree about their shortest form. Strings are
Unicode without lone surrogates, written as UTF-8 and escaped only where JSON requires it. Members are sorted by key;
with ASCII keys, RFC 8785's order by UTF-16 code units equals the order of the bytes.
Source: RFC 8785 §3.2 (read 2026-11-22).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

JsonValue: TypeAlias = "str | int | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

LARGEST_INT = 2**53 - 1
_DEEPEST = 32
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class NotCanonical(ValueError):  # noqa: N818 - says what is true of the value
    """The value has no canonical encoding, or the bytes aren't canonical. Never shows the value."""


def encode_canonical(value: JsonValue | Mapping[str, object]) -> bytes:
    """Return the only encoding of `value`. Raises NotCanonical for a value outside the restricted set.

    A mapping may also be a TypedDict, for which the type checker knows only that its members are objects.
    """
    try:
        return _encode(_checked(value, 0)).encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("a string holds a lone surrogate") from None


def decode_canonical(raw: bytes) -> JsonValue:
    """Return the value of canonical bytes. Raises NotCanonical if the value's encoding isn't these bytes."""
    try:
        value: JsonValue = _decode(raw.decode("utf-8"))
        if not _is_surely_in_the_set(raw):
            value = _checked(value, 0)
        again = _encode(value).encode("utf-8")
    except NotCanonical:
        raise
    except (ValueError, RecursionError):
        raise NotCanonical("not JSON in UTF-8") from None
    if again != raw:
        raise NotCanonical("another spelling of a value that has one canonical encoding")
    return value


def _is_surely_in_the_set(raw: bytes) -> bool:
    """Return True if decoded bytes are in the restricted set for certain, without walking the value.

    A decoded value can only be outside by its depth or by a key; few brackets and ASCII alone exclude both.
    """
    return raw.isascii() and raw.count(b"[") + raw.count(b"{") <= _DEEPEST


def _checked(value: object, depth: int) -> JsonValue:
    if depth > _DEEPEST:
        raise NotCanonical("nested too deeply")
    # Fast path first: nearly all hashed values are plain strings in lists and dictionaries.
    if type(value) is str:
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST_INT:
            raise NotCanonical("an integer beyond 2**53 - 1")
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        for key in value:
            if not (isinstance(key, str) and key.isascii()):
                raise NotCanonical("a key that isn't ASCII text")
        return {str.__str__(key): _checked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item, depth + 1) for item in value]
    raise NotCanonical(f"a value of type {type(value).__name__}")


def _refuse(_: str) -> NoReturn:
    raise NotCanonical("a number that isn't a whole number")


def _whole(text: str) -> int:
    # A longer text is a larger number; it isn't converted, because Python refuses very long ones.
    number = int(text) if len(text) <= len(f"-{LARGEST_INT}") else LARGEST_INT + 1
    if abs(number) > LARGEST_INT:
        raise NotCanonical("an integer beyond 2**53 - 1")
    return number


_decode = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse, parse_int=_whole).decode
