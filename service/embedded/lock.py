"""Lock a directory for one process, so that a second start is refused.

Doesn't decide what is in the directory.

A flock belongs to the open file, so the kernel gives it up when its holder dies, however it dies; and as Python opens
files close-on-exec, a server left over by a killed process doesn't hold it.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from service.embedded.errors import DataUnfit, DirectoryInUse


class DirectoryLock:
    """Exclusive use of a directory, through a lock file in it that stays there."""

    def __init__(self, directory: Path, named_in_errors: Path | None = None) -> None:
        self._path = directory / "servers.lock"
        self._named = named_in_errors or directory
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise DirectoryInUse at once; never waits."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except PermissionError:
            raise DataUnfit(f"{self._path} can't be opened by user {os.geteuid()}: start as its owner") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise DirectoryInUse(self._named) from None
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> "DirectoryLock":
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
