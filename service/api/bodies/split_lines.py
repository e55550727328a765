"""Split a body into numbered lines while it arrives, in constant memory.

A line is the bytes up to a line feed, without a carriage return before it. Of a line over 64 KiB only the number is
kept. The readers decide what a line means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True)
class RawLine:
    """One line; `content` is None if it was too long. The last one may have no line break."""

    number: int
    content: bytes | None = field(repr=False)
    has_line_break: bool = True

    @property
    def is_blank(self) -> bool:
        """Whether the line has only white space."""
        return self.content is not None and not self.content.strip()


class LineSplitter:
    """Takes chunks in their order and yields complete lines."""

    def __init__(self) -> None:
        self._number = 1
        self._rest = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """Yield the lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._keep(part)
            yield self._take(has_line_break=True)
        self._keep(rest)

    def finish(self) -> Iterator[RawLine]:
        """Yield the bytes after the last line break, if there are any."""
        if self._rest or self._is_too_long:
            yield self._take(has_line_break=False)

    def _keep(self, part: bytes) -> None:
        if self._is_too_long or len(self._rest) + len(part) > MAX_LINE_BYTES:
            self._rest.clear()
            self._is_too_long = True
        else:
            self._rest += part

    def _take(self, *, has_line_break: bool) -> RawLine:
        content = None if self._is_too_long else bytes(self._rest).removesuffix(b"\r")
        line = RawLine(self._number, content, has_line_break)
        self._number += 1
        self._rest.clear()
        self._is_too_long = False
        return line
