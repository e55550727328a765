"""Choose the servers' directory: beside the other data, or outside if the account can't reach it.

Doesn't start a server.

    <directory>/servers.lock        who uses it
    <directory>/secrets/            0700, ours: passwords, which the servers' account can't read
    <directory>/servers.location    only if the next lies elsewhere: its path
    <directory>/servers/            the place: ours, so that nothing in it can be exchanged for a link
        postgres/  valkey/  sockets/    0700, the account's
        *.log                           0600, ours
        binaries/                       a copy, only if the installed ones can't be executed by the account

A choice once made stays: existing data that has become unreachable is an error, never a reason to begin an empty store.
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from service.embedded.drop_privileges import Account
from service.embedded.errors import DataUnfit

# sun_path holds 108 bytes on Linux and 104 on macOS, with the terminating zero; PostgreSQL's lock file adds ".lock".
MAX_SOCKET_PATH_BYTES = 99
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432.lock"
# A comma in a socket directory means several hosts to libpq; other characters need quoting that differs per reader.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")


@dataclass(frozen=True)
class DataDirectory:
    """The directories of one pair of servers."""

    directory: Path
    root: Path
    account: Account

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def is_outside(self) -> bool:
        return self.root.parent != self.directory

    def prepare(self) -> None:
        """Create missing directories with their owner and mode.

        Raises DataUnfit if existing data belongs to another account.
        """
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        self.secrets.chmod(0o700)
        for directory in (self.postgres, self.valkey):
            if not directory.exists():
                directory.mkdir(mode=0o700)
                self.account.own(directory)
            owner_uid = directory.stat().st_uid
            if owner_uid != self.account.uid:
                raise DataUnfit(
                    f"{directory} belongs to user {owner_uid}, the servers would run as {self.account.uid} "
                    f"({self.account.name}): start as the user who started before"
                )

    def sockets(self) -> Path:
        """An empty directory of the account alone, short and plain enough for every reader of a socket's path."""
        beside = self.root / "sockets"
        record = self.root / "sockets.location"
        if _fits(beside):
            chosen = beside
            chosen.mkdir(mode=0o700, exist_ok=True)
        else:
            chosen = self._recorded_sockets(record) or _fresh_sockets(self.account)
            write_durably(record, str(chosen))
        self.account.own(chosen)
        self._empty(chosen)
        return chosen

    def leave_sockets(self, sockets: Path) -> None:
        """Remove a socket directory that was created outside the place."""
        if sockets.parent != self.root:
            self._empty(sockets)
            sockets.rmdir()
            (self.root / "sockets.location").unlink(missing_ok=True)

    def _recorded_sockets(self, record: Path) -> Path | None:
        """Return the directory that an earlier run created.

        None if it was removed meanwhile, or if another account may use it.
        """
        if not record.exists():
            return None
        recorded = Path(record.read_text(encoding="utf-8"))
        if recorded.is_symlink() or not recorded.is_dir():
            return None
        found = recorded.stat()
        return recorded if (found.st_uid, found.st_mode & 0o777) == (self.account.uid, 0o700) else None

    def _empty(self, sockets: Path) -> None:
        # Left by servers that were killed. PostgreSQL's lock file names a process id, which may be anybody's by now.
        for entry in sockets.iterdir():
            if entry.name.startswith(".s.PGSQL.") or entry.name == "valkey.sock":
                entry.unlink()


def _fits(directory: Path) -> bool:
    longest = os.fsencode(directory / _LONGEST_SOCKET_NAME)
    return len(longest) <= MAX_SOCKET_PATH_BYTES and _PLAIN.fullmatch(str(directory)) is not None


def _fresh_sockets(account: Account) -> Path:
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  mkdtemp makes a name of its own in it
        if _fits(parent / "expunge-xxxxxxxx") and account.can_enter(parent):
            return Path(tempfile.mkdtemp(prefix="expunge-", dir=parent))
    raise DataUnfit("no directory with a short path for sockets: set TMPDIR to one that every user can enter")


def create_passage(directory: Path, account: Account) -> None:
    """Create `directory` unless it exists: ours, and the account may pass through it but not list it."""
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o711 if account.is_switched_to else 0o700)  # whatever the umask


def choose_data_directory(directory: Path, account: Account, outside: Path) -> DataDirectory:
    """Return the directory of the servers' files.

    It is the one used before, else `<directory>/servers`, else a new one in `outside` if `account` can't enter that.
    Raises DataUnfit if the place used before is gone or can't be entered any more.
    """
    inside = directory / "servers"
    record = directory / "servers.location"
    if record.exists():
        return DataDirectory(
            directory, _used_before(Path(record.read_text(encoding="utf-8")), account, record), account
        )
    if (inside / "postgres").exists():
        return DataDirectory(directory, _used_before(inside, account, inside), account)
    create_passage(inside, account)
    if account.can_enter(inside):
        return DataDirectory(directory, inside, account)
    inside.rmdir()
    create_passage(outside, account)
    chosen = Path(tempfile.mkdtemp(prefix="expunge-", dir=outside))
    chosen.chmod(0o711)
    if not account.can_enter(chosen):
        chosen.rmdir()
        raise DataUnfit(f"{account.name} can enter neither {directory} nor {outside}: choose a directory it can enter")
    write_durably(record, str(chosen))
    return DataDirectory(directory, chosen, account)


def _used_before(root: Path, account: Account, named_by: Path) -> Path:
    if not root.is_dir() or root.is_symlink():
        raise DataUnfit(f"the servers' data was in {root} (says {named_by}) and is not there; it is not begun anew")
    if root.stat().st_uid != os.geteuid() or root.stat().st_mode & 0o022:
        raise DataUnfit(f"{root} must belong to user {os.geteuid()} and be writable by nobody else")
    if not account.can_enter(root):
        raise DataUnfit(
            f"{account.name} can't enter {root} any more, where the servers' data is: "
            "give it back the right to pass through every directory above (chmod o+x)"
        )
    return root


def write_durably(file: Path, text: str) -> None:
    """Write a 0600 file so that after a crash it is there whole or not at all."""
    unfinished = file.with_name(file.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)
    sync_directory(file.parent)


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
