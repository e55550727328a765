"""Keep signed heads in an append-only file.

The file is mounted from another machine, or protected by the file system. One line per head: the note as a JSON string.
A line is appended in one write and synced before `publish` returns. Incomplete lines (the machine stopped in the middle
of one) are skipped; the store notices the missing head, because it remembers the size that it published last. The file
is never truncated or rewritten, so that it may have `chattr +a`, or be on a WORM mount or a remote file system that
only appends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from service.domain.audit.anchor import AnchorUnreachable, Conflict, SignedHead, SignedLog, compare_with

HEADS_FILE = "heads.jsonl"


class FileAnchor:
    """The file `heads.jsonl` in a directory of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory

    @property
    def name(self) -> str:
        """The anchor's configured name."""
        return self._name

    def compare(self, log: SignedLog) -> Conflict | None:
        """Where the store disagrees with the file's last line. Raises AnchorUnreachable."""
        return compare_with(self._name, self.last_note, log)

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Append the head unless it is the last line already. Raises AnchorUnreachable."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not O_RDWR: a file that may only be appended to opens this way and no other.
            handle = os.open(
                self._directory / HEADS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if self.last_note() != head.note:
                    self._append(handle, head.note)
            finally:
                os.close(handle)
            _sync_directory(self._directory)
        except OSError as error:
            raise AnchorUnreachable(_code(error)) from None

    def last_note(self) -> str | None:
        """The note on the last whole line. Raises AnchorUnreachable."""
        last = None
        try:
            for note in self._notes():
                last = note
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnchorUnreachable(_code(error)) from None
        return last

    def _notes(self) -> Iterator[str]:
        with (self._directory / HEADS_FILE).open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    note = json.loads(line)
                except ValueError:
                    continue
                if isinstance(note, str):
                    yield note

    def _append(self, handle: int, note: str) -> None:
        line = json.dumps(note).encode() + b"\n"
        if self._ends_within_a_line():
            line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise AnchorUnreachable("short_write")
        os.fsync(handle)

    def _ends_within_a_line(self) -> bool:
        with (self._directory / HEADS_FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return False
            file.seek(size - 1)
            return file.read(1) != b"\n"


def _code(error: OSError) -> str:
    return f"file_{type(error).__name__}".lower()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
