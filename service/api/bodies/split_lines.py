"""Cut a body into lines while it arrives, in constant memory: numbered, without their line breaks, none too long.

Decides what a line is: bytes up to a line feed, a carriage return before it left out. Of one that is longer than 64 KiB
only the number is kept. What stands in a line is the readers' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True)
class RawLine:
    """One line; `content` is None if it was too long. The last one may come without a line break."""

    number: int
    content: bytes | None = field(repr=False)
    has_line_break: bool = True

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands in it."""
        return self.content is not None and not self.content.strip()


class LineCutter:
    """Takes chunks as they come and gives the lines that are whole."""

    def __init__(self) -> None:
        self._number = 1
        self._rest = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._keep(part)
            yield self._take(has_line_break=True)
        self._keep(rest)

    def finish(self) -> Iterator[RawLine]:
        """What came behind the last line break, if anything did."""
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
