"""Peppers that Expunge generated itself: the first one, and the files of those that were added.

`pepper` is the first, `pepper.2` the second. `pepper.next` was prepared by `expunge encryption rotate-pepper` and is
read by no process until the next start of the service takes it.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.store.encryption.epoch_files import sync_directory

FIRST = "pepper"
NEXT = "pepper.next"


def added_files(directory: Path) -> list[Path]:
    """The files of the added peppers, oldest first."""
    found, version = [], 2
    while (path := directory / f"{FIRST}.{version}").exists():
        found.append(path)
        version += 1
    return found


def prepare_next(directory: Path) -> bool:
    """Make the pepper that the next start takes, durable; False if one is prepared already."""
    path = directory / NEXT
    if path.exists():
        return False
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(os.urandom(32).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(directory)
    return True


def take_next(directory: Path) -> None:
    """Give a prepared pepper its number, before the store takes it, so that it can't be lost.

    Does nothing if none is prepared.
    """
    path = directory / NEXT
    if path.exists():
        path.rename(directory / f"{FIRST}.{2 + len(added_files(directory))}")
        sync_directory(directory)
