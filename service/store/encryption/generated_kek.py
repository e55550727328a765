"""The key-encryption key that Expunge generated itself, and its replacement by the next one.

While it is being replaced there are two files: `key_encryption_key` is the newest, `key_encryption_key.previous` still
unwraps. Each step is one rename or link, so a process that dies leaves one of the states that are described here.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.store.encryption.epoch_files import overwrite, sync_directory

NEWEST = "key_encryption_key"
PREVIOUS = "key_encryption_key.previous"
_NEXT = "key_encryption_key.next"


def begin_replacing(directory: Path) -> None:
    """Make a new key the newest and keep the old one as the previous.

    Does nothing if a replacement has begun already.
    """
    newest, previous, following = (directory / name for name in (NEWEST, PREVIOUS, _NEXT))
    if previous.exists() and not previous.samefile(newest):
        return
    following.unlink(missing_ok=True)
    handle = os.open(following, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(os.urandom(32).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    if not previous.exists():
        os.link(newest, previous)
        sync_directory(directory)
    following.replace(newest)
    sync_directory(directory)


def end_replacing(directory: Path) -> None:
    """Overwrite the previous key. Nothing may be wrapped under it any more."""
    newest, previous = directory / NEWEST, directory / PREVIOUS
    if not previous.exists():
        return
    if previous.samefile(newest):
        previous.unlink()
        sync_directory(directory)
    else:
        overwrite(previous)
