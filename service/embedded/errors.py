"""Errors of the embedded servers; every message names an action for a person.

Decides names and wording only.

EmbeddedServersError
├── DirectoryInUse      another process runs the servers of this directory
├── AccountUnfit        nobody suitable to run them as
├── BinariesUnusable    the wheels are missing, or what they hold doesn't run here
├── DataUnfit           the data exists but can't be used as it is; it is never replaced by an empty one
├── ServerDidNotStart   a server ended or stayed silent while starting
└── ServerDidNotStop    a server survived every signal
"""

from pathlib import Path


class EmbeddedServersError(Exception):
    """The embedded PostgreSQL or Valkey can't do what was asked."""


class DirectoryInUse(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """Another process holds the lock of this directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is in use: Expunge already runs its servers from this directory")
        self.directory = directory


class AccountUnfit(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """PostgreSQL can't run as this user, and no other is to be had."""


class BinariesUnusable(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """The server binaries are missing, or the account can't execute them."""


class DataUnfit(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """Existing data can't be used.

    It is unreachable, missing where it was recorded, or has another owner, version or password.
    """


class ServerDidNotStart(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """A server ended, or stayed silent, while it was being started."""

    def __init__(self, server: str, log: Path, last_lines: str) -> None:
        super().__init__(
            f"{server} did not start; its log is {log}" + (f" and ends:\n{last_lines}" if last_lines else "")
        )


class ServerDidNotStop(EmbeddedServersError):  # noqa: N818 - named after what is the matter
    """A server is still there after the last signal; its directory must not be used by a second one."""

    def __init__(self, server: str, pids: tuple[int, ...]) -> None:
        super().__init__(f"{server} is still running as process {', '.join(map(str, pids))} after SIGKILL")
        self.pids = pids
