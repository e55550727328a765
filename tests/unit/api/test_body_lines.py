"""Lines cut from chunks: the same wherever the chunks end, and never more kept than one line."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.bodies.split_lines import MAX_LINE_BYTES, LineSplitter, RawLine


def cut(chunks: list[bytes]) -> list[RawLine]:
    cutter = LineSplitter()
    return [line for chunk in chunks for line in cutter.feed(chunk)] + list(cutter.finish())


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text("a\r\n", max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_lines_are_the_same_wherever_the_chunks_end(text: str, cuts: list[int]) -> None:
    body = text.encode()
    places = sorted(min(cut, len(body)) for cut in cuts)
    chunks = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]

    found = cut(chunks)

    expected = body.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line.content for line in found] == [each.removesuffix(b"\r") for each in expected]
    assert [line.number for line in found] == list(range(1, len(expected) + 1))
    assert [line.has_line_break for line in found] == [n < body.count(b"\n") for n in range(len(found))]


def test_of_a_line_without_an_end_nothing_is_kept() -> None:
    cutter = LineSplitter()
    for _ in range(100):
        assert list(cutter.feed(b"x" * MAX_LINE_BYTES)) == []
        assert len(cutter._rest) <= MAX_LINE_BYTES

    (long, short) = [*cutter.feed(b"\nok"), *cutter.finish()]

    assert (long.number, long.content, long.has_line_break) == (1, None, True)
    assert (short.number, short.content, short.has_line_break) == (2, b"ok", False)


def test_a_line_of_just_that_size_is_read() -> None:
    exact, more = cut([b"x" * MAX_LINE_BYTES + b"\n", b"x" * (MAX_LINE_BYTES + 1) + b"\n"])
    assert exact.content == b"x" * MAX_LINE_BYTES
    assert more.content is None


def test_a_line_shows_nothing_of_itself() -> None:
    assert "ada" not in repr(cut([b"ada@example.test"]))
