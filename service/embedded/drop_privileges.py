"""Choose the account that runs the servers: our own, or `nobody` if we are root.

Doesn't decide where files are.

PostgreSQL refuses to run as root, and neither server needs anything of ours: its account must not be able to read our
keys. Whether the account can reach a file is tried as that account, because mode bits show neither access lists nor
mount options.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from service.embedded.errors import AccountUnfit

UNPRIVILEGED_NAME = "nobody"
# Nothing of our own environment (tokens, key-encryption keys) reaches a server.
BARE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_PRINT_THOSE_WORKING_IN = """\
for pid in $PIDS; do
    for directory in "$@"; do
        if test "/proc/$pid/cwd" -ef "$directory"; then echo "$pid"; break; fi
    done
done
"""


class Identity(TypedDict, total=False):
    """The arguments of Popen that change the user; empty when there is no change."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The user that the servers run as."""

    name: str
    uid: int
    gid: int
    is_switched_to: bool

    @property
    def identity(self) -> Identity:
        if not self.is_switched_to:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, directory: Path) -> bool:
        return self._test("-x", directory)

    def can_read(self, file: Path) -> bool:
        return self._test("-r", file)

    def can_run(self, binary: Path) -> bool:
        """True if `binary --version` succeeds as this account: readable, executable, its libraries found."""
        return self._succeeds([str(binary), "--version"])

    def those_working_in(self, directories: Sequence[Path], pids: Sequence[int]) -> tuple[int, ...]:
        """Return those of `pids` whose working directory is one of `directories`: the same inode.

        The account itself asks the kernel, because root in a container without CAP_SYS_PTRACE may not read another
        account's processes.
        """
        if not pids:
            return ()
        command = ["sh", "-c", _PRINT_THOSE_WORKING_IN, "sh", *map(str, directories)]
        told = self._run(command, PIDS=" ".join(map(str, pids)))
        return tuple(int(line) for line in told.stdout.split())

    def _test(self, flag: str, path: Path) -> bool:
        return self._succeeds(["test", flag, str(path)])

    def _succeeds(self, command: list[str]) -> bool:
        try:
            return self._run(command).returncode == 0
        except OSError:  # it can't even be executed, which is the answer
            return False

    def _run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            check=False,
            cwd="/",
            env={**BARE_ENVIRONMENT, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            **self.identity,
        )

    def own(self, directory: Path) -> None:
        """Make `directory` this account's alone: 0700."""
        directory.chmod(0o700)
        if self.is_switched_to:
            os.chown(directory, self.uid, self.gid)


def choose_account() -> Account:
    """Return the account for this process.

    Raises AccountUnfit if initdb can't run under it, because initdb looks up its user's name.
    """
    uid = os.geteuid()
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_NAME) if uid == 0 else pwd.getpwuid(uid)
    except KeyError:
        who = f"the user {UNPRIVILEGED_NAME!r}" if uid == 0 else f"user {uid}"
        raise AccountUnfit(
            f"{who} is not in the user database, and PostgreSQL needs a user with a name that is not root: "
            "add it, start as a named user, or configure the URL of a PostgreSQL server"
        ) from None
    if entry.pw_uid == 0:
        raise AccountUnfit(f"the user {UNPRIVILEGED_NAME!r} has the rights of root here; PostgreSQL refuses to run so")
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, is_switched_to=uid == 0)
