"""What a call asks for: the same as httpx sends for everything ordinary, and never somebody else's record."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base.errors import RequestRefused
from connectors.base.toolkit.target import request_target

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(ANY, ANY | st.integers(), max_size=4))
def test_a_query_is_what_httpx_makes_of_it(params: dict[str, str | int]) -> None:
    assert request_target("/api", "/people", params) == httpx.URL("http://v.example/api/people", params=params).raw_path


@given(ANY.filter(lambda text: not {"?", "#"} & set(text) and text.isprintable()))
def test_a_path_names_what_it_names_for_httpx(text: str) -> None:
    path = f"/people/p{text}"
    try:
        target = request_target("", path)
    except RequestRefused:
        assert any(part in (".", "..") for part in path.split("/"))
        return
    # httpx leaves brackets and the like unquoted, as browsers do.
    assert unquote_to_bytes(target) == unquote_to_bytes(httpx.URL(f"http://v.example{path}").raw_path)
    assert re.fullmatch(rb"[\w\-.~!$&'()*+,;=:@/%]+", target)


def test_what_would_end_a_path_early_is_quoted() -> None:
    assert request_target("/api", "people/12#34") == b"/api/people/12%2334"
    assert request_target("", "/people/12?all=1", {"q": 1}) == b"/people/12%3Fall=1?q=1"
    assert request_target("", "/people/50%") == b"/people/50%25"
    assert request_target("", "/people/a%2Fb\r\nx: y") == b"/people/a%2Fb%0D%0Ax:%20y"


@pytest.mark.parametrize("path", ["/users/..", "/users/../x", "/./users", "/users/%2E%2e", "..", "/users/.%2e/y"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(RequestRefused, match="dot_segment"):
        request_target("/api", path)
