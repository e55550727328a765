"""Read a secret's file, and refuse it if another user may read or replace it.

One rule for every secret: the file must be an ordinary file of our user without any right for group or others (0600 or
0400), and no link.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotPrivate(Exception):  # noqa: N818 - says what is true of the file
    """The file can't be read as a secret. Says its name and why, never its content or directory."""


def read_private(path: Path) -> bytes:
    """Return the content. Raises NotPrivate, and FileNotFoundError if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise NotPrivate(f"{path.name} is open to others: its mode must be 0600")
            if status.st_uid != os.geteuid():
                raise NotPrivate(f"{path.name} belongs to another user")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotPrivate(f"{path.name} can't be read: {error.strerror}") from None
