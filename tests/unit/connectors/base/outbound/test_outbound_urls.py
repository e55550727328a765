"""A target is put behind an origin just as httpx itself does it."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base.errors import RequestRefused
from connectors.base.outbound.urls import with_target
from connectors.base.toolkit.target import request_target

BASES = [
    "https://vendor.example",
    "http://127.0.0.1:8080/api/v2",
    "https://[2001:db8::1]:8443/x?y=1",
    "https://a.b:443",
]


@pytest.mark.parametrize("base", BASES)
@given(path=st.text(), params=st.none() | st.dictionaries(st.text(), st.text() | st.integers()))
def test_a_target_is_put_as_httpx_puts_it(base: str, path: str, params: dict[str, str | int] | None) -> None:
    url = httpx.URL(base)
    try:
        target = request_target("/base", path, params)
    except (RequestRefused, UnicodeEncodeError):
        return
    quick, plain = with_target(url, target), url.copy_with(raw_path=target)
    assert (quick.raw_path, str(quick), quick.host, quick.port) == (plain.raw_path, str(plain), plain.host, plain.port)
    assert quick == plain


def test_the_base_itself_is_not_changed() -> None:
    base = httpx.URL("https://vendor.example/a?b=1")
    assert str(with_target(base, b"/c")) == "https://vendor.example/c"
    assert str(base) == "https://vendor.example/a?b=1"
