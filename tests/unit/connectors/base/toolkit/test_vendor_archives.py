"""Hostile archives are one of our errors, or harmless, in bounded memory."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc

import pytest

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.archives import regular_files

MEBIBYTE = 1024 * 1024


def packed(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **headers: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.pax_headers = headers
    return info


def contents(archive: bytes, max_bytes: int = 16 * MEBIBYTE, max_files: int = 100) -> list[bytes]:
    return list(regular_files(archive, max_bytes=max_bytes, max_files=max_files))


def refused(archive: bytes, **limits: int) -> str:
    with pytest.raises(AnswerNotUnderstood) as raised:
        contents(archive, **limits)
    assert raised.value.__cause__ is None
    return raised.value.code


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_are_read_whatever_the_archive_is_like(form: int) -> None:
    name = "folder/" + "n" * (80 if form == tarfile.USTAR_FORMAT else 300)
    archive = packed(
        (entry("folder", tarfile.DIRTYPE), b""), (entry(name), b"one"), (entry("b"), b"x" * 513), form=form
    )
    assert contents(archive) == [b"one", b"x" * 513]


def test_a_long_extended_header_takes_no_memory() -> None:
    archive = packed((entry("a.json", comment="x" * (32 * MEBIBYTE)), b"[]"))
    assert len(archive) < 100_000
    tracemalloc.start()
    try:
        assert contents(archive, max_bytes=64 * MEBIBYTE) == [b"[]"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MEBIBYTE


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_passed_over(kind: bytes) -> None:
    archive = packed((entry("a", kind, "../../etc/passwd"), b""), (entry("b"), b"two"))
    assert contents(archive) == [b"two"]


def test_a_bomb_is_refused_while_it_unpacks() -> None:
    archive = packed((entry("a"), b"\0" * (64 * MEBIBYTE)))
    assert len(archive) < 100_000
    tracemalloc.start()
    try:
        assert refused(archive, max_bytes=MEBIBYTE) == "archive_too_large"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MEBIBYTE


def test_what_is_passed_over_counts_as_well() -> None:
    archive = packed((entry("a", comment="x" * (4 * MEBIBYTE)), b"[]"))
    assert refused(archive, max_bytes=MEBIBYTE) == "archive_too_large"


def test_what_follows_the_end_counts_as_well() -> None:
    whole = gzip.decompress(packed((entry("a"), b"[]")))
    assert refused(gzip.compress(whole + b"\0" * (8 * MEBIBYTE)), max_bytes=MEBIBYTE) == "archive_too_large"


def test_too_many_files_are_refused() -> None:
    archive = packed(*((entry(f"{n}"), b"") for n in range(101)))
    assert refused(archive) == "archive_too_large"


@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_half_an_archive_is_refused(cut: int) -> None:
    archive = packed((entry("a"), bytes(range(256)) * 20))
    assert refused(archive[:-cut]) == "archive_unreadable"


NO_ARCHIVES = {
    "nothing": b"",
    "not packed": b"no archive",
    "packed": gzip.compress(b"no archive"),
    "four blocks": gzip.compress(b"x" * 2000),
    "a block and a part": gzip.compress(b"x" * 600),
    "wrong check sum": packed((entry("a"), b"[]"))[:-8] + b"\0" * 8,
}


@pytest.mark.parametrize("name", NO_ARCHIVES)
def test_what_is_no_archive_is_refused(name: str) -> None:
    assert refused(NO_ARCHIVES[name]) == "archive_unreadable"


def test_a_size_that_is_negative_is_refused() -> None:
    info = entry("a")
    info.size = -1
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert refused(gzip.compress(header + b"\0" * 1024)) == "archive_unreadable"
