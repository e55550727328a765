"""Read a stopped installation as a thief of its disk would: every file as bytes, every key that can be unwrapped."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.store.encryption.key_encryption_keys import fixed_keys
from service.store.encryption.sealing import SealBroken, unseal

_OWNER = re.compile(rb"(?:request|batch)/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EPOCH = re.compile(rb'"epoch": "([0-9a-f-]{36})", "wrapped_by": "([a-z0-9-]+)", "wrapped": "([A-Za-z0-9+/=]+)"')
_WRAPPED_BYTES = 1 + 12 + 32 + 16
_BETWEEN = 24  # An owner's text is followed by the wrapped key, with a header and padding of a few bytes.
_TOAST_CHUNK = 1996
_WAL = re.compile(r"pg_wal/[0-9A-F]{24}$")
_PAGE = 8192


@dataclass
class Disk:
    """The bytes of all files below these directories, with the secrets that outlive every request."""

    files: dict[str, bytes] = field(repr=False)
    key_encryption_key: bytes = field(repr=False)

    @classmethod
    def read(cls, directories: Iterable[Path], key_encryption_key: bytes) -> Disk:
        files = {
            str(path): path.read_bytes()
            for directory in directories
            for path in directory.rglob("*")
            if path.is_file() and path.stat().st_size
        }
        # A record that is longer than the rest of its page goes on behind the next page's header.
        files |= {f"{name} without headers": _records(files[name]) for name in list(files) if _WAL.search(name)}
        return cls(files, key_encryption_key)

    def wrapping_keys(self) -> list[bytes]:
        """The key-encryption key, and every epoch key whose file's bytes lie anywhere."""
        keys, found = fixed_keys(self.key_encryption_key), [self.key_encryption_key]
        for content in self.files.values():
            for epoch, wrapped_by, wrapped in _EPOCH.findall(content):
                context = f"epoch-key/{epoch.decode()}"
                found.append(keys.unwrap(wrapped_by.decode(), base64.b64decode(wrapped), context))
        return found

    def data_keys(self) -> dict[str, bytes]:
        """Every data key that one of the wrapping keys opens, by owner."""
        wrapping, found = self.wrapping_keys(), {}
        for content in self.files.values():
            for match in _OWNER.finditer(content):
                owner = match[0].decode()
                if owner not in found and (key := _open_behind(content, match.end(), owner, wrapping)) is not None:
                    found[owner] = key
        return found

    def has(self, sealed: bytes) -> bool:
        """Whether a sealed value lies on the disk, whole or in TOAST's chunks."""
        pieces = [sealed[at : at + _TOAST_CHUNK] for at in range(0, len(sealed), _TOAST_CHUNK)]
        return any(sealed in content for content in self.files.values()) or all(
            any(piece in content for content in self.files.values()) for piece in pieces
        )


@dataclass(frozen=True)
class SealedValue:
    """A value as it was stored: whose key seals it, its context, and its bytes."""

    owner: str
    context: str
    sealed: bytes = field(repr=False)


def recovered(disk: Disk, values: Iterable[SealedValue]) -> Mapping[SealedValue, bytes]:
    """The values that a thief reads in clear: the key was unwrapped and the sealed bytes were found."""
    keys = disk.data_keys()
    return {v: unseal(keys[v.owner], v.sealed, v.context) for v in values if v.owner in keys and disk.has(v.sealed)}


def _records(wal: bytes) -> bytes:
    """A WAL file less its page headers: 24 bytes, or 40 with the flag XLP_LONG_HEADER (access/xlog_internal.h)."""
    pages = [wal[at : at + _PAGE] for at in range(0, len(wal), _PAGE)]
    return b"".join(page[40 if page[2] & 2 else 24 :] for page in pages)


def _open_behind(content: bytes, end: int, owner: str, wrapping: Iterable[bytes]) -> bytes | None:
    for candidate in _candidates(content, end):
        for key in wrapping:
            try:
                return unseal(key, candidate, f"data-key/{owner}")
            except SealBroken:
                continue
    return None


def _candidates(content: bytes, end: int) -> Iterator[bytes]:
    for start in range(end, end + _BETWEEN):
        if content[start : start + 1] == b"\x01":
            yield content[start : start + _WRAPPED_BYTES]
