"""Bodies before anything else looks at them: one JSON value with one meaning, or a problem that repeats nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.bodies.request_body import check_json
from service.api.problems import Trouble


@pytest.mark.parametrize("body", [b"{}", b'{"a": [1, "x", null, true, 1.5]}', b"[" * 15 + b"]" * 15, '"é"'.encode()])
def test_json_with_one_meaning_is_let_in(body: bytes) -> None:
    check_json(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        ("{}".encode("utf-16"), "malformed_json"),
        (b'{"a": Infinity}', "malformed_json"),
        (b'{"a": 1, "a": 1}', "validation"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "validation"),
        (b"[" * 18 + b"]" * 18, "validation"),
        (b"[" * 100_000, "malformed_json"),
    ],
)
def test_anything_else_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Trouble) as refused:
        check_json(body)
    assert refused.value.code == code
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_pass_or_be_refused(body: bytes) -> None:
    with contextlib.suppress(Trouble):
        check_json(body)
