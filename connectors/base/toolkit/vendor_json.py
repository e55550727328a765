"""Parse the JSON of a vendor's answer, within limits: the only way in which connectors read it.

A few kilobytes can be hostile: 100,000 brackets exhaust the stack, a number of 5,000 digits raises, `1e999` is
infinite, a lone surrogate can't be encoded again, and ten megabytes of `[[],[],...]` are 250 MB of lists. Here each of
these is AnswerNotUnderstood("bad_json"), or for lone surrogates a replacement, so that no caller must expect them.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from connectors.base.errors import AnswerNotUnderstood

MAX_DEPTH = 64
MAX_VALUES = 2_000_000
"""Commas and brackets of one document: about 150 MB in memory, and more than a page of any vendor has."""
_LONGEST_INTEGER = 20
_LONGEST_FLOAT = 400
_CONTAINERS = (dict, list)


def parse_vendor_json(body: bytes | str, *, status: int | None = None, effect_unknown: bool = False) -> Any:
    """Return the value of a vendor's JSON.

    It may hold finite numbers, integers of at most 20 characters, at most 64 levels, no lone surrogates.

    Raises AnswerNotUnderstood("bad_json") with the given status and effect for anything else.
    """
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body
        _check_size(text)
        value = _DECODER.decode(text)
        _check_depth(value)
        # UTF-8 itself holds none: they come from escapes only, or in a text that was decoded elsewhere.
        suspect = _has_escapes(text) or (isinstance(body, str) and not body.isascii())
        return _encodable(value) if suspect else value
    except (ValueError, RecursionError):
        raise AnswerNotUnderstood("bad_json", status=status, effect_unknown=effect_unknown) from None


def without_lone_surrogates(body: bytes) -> bytes:
    """The body as it is, unless it is JSON that may hold lone surrogates: then the same JSON without.

    For answers that another library parses.
    """
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    try:
        return json.dumps(parse_vendor_json(body)).encode()
    except AnswerNotUnderstood:
        return body


def is_vendor_json(body: bytes | str) -> bool:
    """True if `parse_vendor_json` would return a value."""
    try:
        parse_vendor_json(body)
    except AnswerNotUnderstood:
        return False
    return True


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError("a number that nothing counts")
    return int(text)


def _float(text: str) -> float:
    number = float(text) if len(text) <= _LONGEST_FLOAT else math.inf
    if not math.isfinite(number):
        raise ValueError("a number without end")
    return number


def _refuse(_: str) -> NoReturn:
    raise ValueError("not JSON")


# `json.loads` makes one for each document that isn't parsed by its defaults.
_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_refuse)


def _has_escapes(text: str) -> bool:
    return "\\ud" in text or "\\uD" in text


def _check_size(text: str) -> None:
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise ValueError("too many values")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [v for v in item.values() if isinstance(v, _CONTAINERS)]
            elif isinstance(item, list):
                inner += [v for v in item if isinstance(v, _CONTAINERS)]
        if not inner:
            return
        level = inner
    raise ValueError("nested too deeply")


def _encodable(value: Any) -> Any:
    """The value with U+FFFD in the place of each lone surrogate, which no encoding can write down.

    Refusing the whole answer would let one cut-off emoji in one text stop the work for every person on that page. A
    text with a replacement equals no identifier of ours, so it leads to no person.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    return value
