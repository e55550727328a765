"""Find the servers of one directory that a killed process left running, and end them in stages.

A process is a server of this directory if it runs as the account, its program has the server's name,
and the kernel says that its working directory is the data directory (both servers go there; the same inode, not the
same text). A process id read from a file proves nothing. Signals go through a pidfd, so that an id used again in
between hits nobody else. Where the kernel doesn't tell (no /proc, as on macOS) nothing is found, and the server
itself refuses the start.
"""

import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.embedded.drop_privileges import Account
from service.embedded.errors import ServerDidNotStop

PROCESSES = Path("/proc")
# A signal, and how many seconds it has before the next stage.
Stage = tuple[signal.Signals, float]


@dataclass(frozen=True)
class ServerKind:
    """How the processes of one server are recognised, and how they are asked to end: gently first."""

    name: str
    programs: frozenset[str]
    stages: tuple[Stage, ...]


# PostgreSQL: SIGINT is the fast shutdown (sessions end, a checkpoint is written), SIGQUIT the immediate one.
POSTGRES = ServerKind(
    "PostgreSQL",
    frozenset({"postgres", "initdb"}),
    ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)),
)
VALKEY = ServerKind("Valkey", frozenset({"valkey-server"}), ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)))


def processes_of(kind: ServerKind, directories: Sequence[Path], account: Account) -> tuple[int, ...]:
    """The ids of all processes of such a server whose working directory is one of `directories`."""
    if not PROCESSES.is_dir():
        return ()
    pids = [int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdecimal()]
    return account.those_working_in(directories, [pid for pid in pids if _is_run_by(pid, kind, account)])


def _is_run_by(pid: int, kind: ServerKind, account: Account) -> bool:
    entry = PROCESSES / str(pid)
    try:
        return entry.stat().st_uid == account.uid and (entry / "comm").read_text().rstrip("\n") in kind.programs
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended meanwhile, or isn't ours to look at and so not ours to end


def end_stale_processes(kind: ServerKind, directories: Sequence[Path], account: Account) -> tuple[int, ...]:
    """End every process of such a server in `directories`; returns those found. Raises ServerDidNotStop."""
    ended: list[int] = []
    while found := processes_of(kind, directories, account):
        leaders = _without_parent_in(found)
        fresh = [pid for pid in leaders if pid not in ended]
        if not fresh:
            raise ServerDidNotStop(kind.name, tuple(leaders))
        for pid in fresh:
            _end_if_it_still_belongs(pid, kind, directories, account)
        ended += fresh
    return tuple(ended)


def _without_parent_in(pids: Sequence[int]) -> list[int]:
    """Return the processes that have no parent in `pids`.

    Children end with their parent, and a PostgreSQL session would only cancel its query on SIGINT.
    """
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int | None:
    try:
        stat = (PROCESSES / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the program's name, in brackets, may hold anything


def _is_session_without_server(pid: int) -> bool:
    try:
        return (PROCESSES / str(pid) / "cmdline").read_bytes().startswith(b"postgres: ")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _end_if_it_still_belongs(pid: int, kind: ServerKind, directories: Sequence[Path], account: Account) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if pid in processes_of(kind, directories, account):  # looked at again now that the id can't change hands
            stages = kind.stages[1:] if _is_session_without_server(pid) else kind.stages
            _end_in_stages(handle, pid, kind.name, stages)
    finally:
        os.close(handle)


def _end_in_stages(handle: int, pid: int, name: str, stages: Sequence[Stage]) -> None:
    """Send one signal after the other through a pidfd until the process ended. Raises ServerDidNotStop."""
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    for number, wait_seconds in stages:
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        if ended.poll(wait_seconds * 1000):
            return
    raise ServerDidNotStop(name, (pid,))
