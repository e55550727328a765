"""Looks for personal data where none may be, in seven encodings. Decides how a value may hide in bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

ENCODINGS = ("raw", "lower", "base64", "hex", "url", "sha256", "md5")


def hidings(value: str) -> dict[str, list[bytes]]:
    """Byte strings of which one stands in any content that holds the value in that encoding."""
    raw = value.encode()
    lower = value.lower().encode()
    return {
        "raw": [raw, value.encode("utf-16-le"), value.encode("unicode_escape"), repr(raw)[2:-1].encode()],
        "lower": [lower],
        "base64": [*_base64_middles(raw), *_base64_middles(lower)],
        "hex": [raw.hex().encode(), raw.hex().upper().encode(), lower.hex().encode()],
        "url": [quote(value, safe="").encode(), quote(value.lower(), safe="").encode()],
        "sha256": _digests(hashlib.sha256, raw, lower),
        "md5": _digests(hashlib.md5, raw, lower),
    }


def found(values: Iterable[str], places: dict[str, bytes]) -> list[tuple[str, str]]:
    """(place, encoding) of every hit; the value itself is not repeated."""
    hits = []
    for value in values:
        for encoding, needles in hidings(value).items():
            for place, content in places.items():
                if any(needle in content for needle in needles):
                    hits.append((place, encoding))
    return hits


def files_under(directory: Path) -> dict[str, bytes]:
    """The content of every file below a directory."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def _base64_middles(raw: bytes) -> list[bytes]:
    """What is the same in the base64 of any content that holds `raw`, at each of the three alignments."""
    middles = []
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * offset + raw).rstrip(b"=")
            start = (offset * 8 + 5) // 6
            end = (offset + len(raw)) * 8 // 6
            middles.append(coded[start:end])
    return middles


def _digests(kind: type, *contents: bytes) -> list[bytes]:
    digests = [kind(content).digest() for content in contents]  # type: ignore[call-arg]  # hashlib's constructors
    return [form for d in digests for form in (d, d.hex().encode(), base64.b64encode(d))]
