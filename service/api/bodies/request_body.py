"""Read a body: check its size, its media type, and that it is JSON with one meaning.

Refuses more than 64 KiB where the route names no other limit, another media type, another encoding than UTF-8, deep
nesting, and a member that occurs twice (two readers would see two different requests). The schemas decide the meaning
of fields.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from email.message import Message
from typing import NoReturn

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from service.api.problems import FieldError, Trouble

MAX_BODY_BYTES = 64 * 1024
_DEEPEST = 16


class _Twice(ValueError):  # noqa: N818 - says what is true
    """An object has a member twice."""


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> Request:
    """Return the request with its body read and checked. Raises Trouble."""
    _check_media_type(request.headers.get("content-type"))
    body = await read_at_most(request, max_bytes)
    return _ReadRequest(request.scope, body, check_json(body))


class _ReadRequest(Request):
    """A request whose body was read and parsed, so that the framework does neither again."""

    def __init__(self, scope: Scope, body: bytes, value: object) -> None:
        super().__init__(scope)
        self._read = body
        self._value = value

    async def body(self) -> bytes:
        """Return the body as it arrived."""
        return self._read

    async def json(self) -> object:
        """Return the value of the body."""
        return self._value


async def read_at_most(request: Request, max_bytes: int) -> bytes:
    """Return the body as it arrived. Raises Trouble as soon as it is longer."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                # The rest isn't read, so the connection ends with this answer.
                raise Trouble(413, "too_large", f"at most {max_bytes} bytes", headers={"Connection": "close"})
            chunks.append(chunk)
    except ClientDisconnect:
        raise Trouble(400, "cut_off") from None
    return b"".join(chunks)


def _check_media_type(content_type: str | None) -> None:
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    if message.get_content_type() != "application/json":
        raise Trouble(415, "unsupported_media_type")


def check_json(body: bytes) -> object:
    """Return the value. Raises Trouble for anything but one JSON value with one meaning."""
    try:
        value: object = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except _Twice:
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="duplicate_member")]) from None
    except (ValueError, RecursionError):
        raise Trouble(400, "malformed_json") from None
    if _is_deep(value):
        raise Trouble(422, "validation", errors=[FieldError(field="", reason="nested_too_deeply")])
    return value


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Twice
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        level = inner
    return True
