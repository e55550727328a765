"""Read a body before anything else looks at it: its size, its type, and that it is JSON with one meaning.

Decides what is refused here: more than 64 KiB, another media type, another encoding than UTF-8, nesting without end,
members named twice (two readers would see two different requests). What the fields mean is the schemas' business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from email.message import Message
from typing import Any, NoReturn

from fastapi import Request
from starlette.types import Message as AsgiMessage

from service.api.problems import FieldError, Trouble

MAX_BODY_BYTES = 64 * 1024
_DEEPEST = 16


class _Twice(ValueError):  # noqa: N818 - says what is true
    """A member of an object stands there twice."""


async def read_body(request: Request) -> Request:
    """The same request with its body read and checked. Raises Trouble."""
    _check_media_type(request.headers.get("content-type"))
    body = await _limited(request)
    check_json(body)
    sent = False

    async def replay() -> AsgiMessage:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, replay)


async def _limited(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            # What is left isn't read: the connection ends with this answer.
            raise Trouble(413, "too_large", f"at most {MAX_BODY_BYTES} bytes", headers={"Connection": "close"})
        chunks.append(chunk)
    return b"".join(chunks)


def _check_media_type(content_type: str | None) -> None:
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    if message.get_content_type() != "application/json":
        raise Trouble(415, "unsupported_media_type")


def check_json(body: bytes) -> None:
    """Raises Trouble for anything but one JSON value with one meaning."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except _Twice:
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="duplicate_member")]) from None
    except (ValueError, RecursionError):
        raise Trouble(400, "malformed_json") from None
    if _is_deep(value):
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="nested_too_deeply")])


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Twice
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        level = inner
    return True
