"""The pair of servers of one directory: starts both, says how to reach them, stops both.

Decides the order. Doesn't decide the servers' account (drop_privileges.py), their directory (data_directory.py) or how
each one runs (postgres.py, valkey.py).
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from service.embedded.binaries import binaries_for
from service.embedded.data_directory import DataDirectory, choose_data_directory, create_passage
from service.embedded.drop_privileges import choose_account
from service.embedded.errors import DataUnfit, EmbeddedServersError
from service.embedded.lock import DirectoryLock
from service.embedded.postgres import ADMIN_DATABASE, ADMIN_ROLE, DATABASES, cluster_directory, start_postgres
from service.embedded.server_process import ServerProcess
from service.embedded.stale_processes import POSTGRES, VALKEY, end_stale_processes
from service.embedded.valkey import start_valkey

# Where root puts what the account can't reach in the directory itself: not a temporary directory, which is cleaned.
OUTSIDE = Path("/var/lib/expunge")


@dataclass(frozen=True)
class Running:
    """How to reach the servers. The URLs hold passwords and so are in no repr."""

    database_admin_url: str = field(repr=False)
    database_url: str = field(repr=False)
    key_database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    notes: tuple[str, ...]
    """What a person should know, in whole sentences without secrets: what was placed elsewhere, what was ended."""


class EmbeddedServers:
    """PostgreSQL and Valkey of our own in `directory`, which is created if it is missing.

    `durable=False` is for tests: faster, and a crash of the machine may destroy the data.
    `outside` is where root creates the place of the data if the unprivileged account can't enter `directory`.
    """

    def __init__(self, directory: Path, *, durable: bool = True, outside: Path = OUTSIDE) -> None:
        self._directory = directory.absolute()
        self._durable = durable
        self._outside = outside
        self._stack: ExitStack | None = None
        self._processes: tuple[ServerProcess, ...] = ()

    def start(self) -> Running:
        """Start both, after ending what a killed run left in this directory; returns when both answer.

        Raises EmbeddedServersError; then nothing that was started here is left running.
        """
        if self._stack is not None:
            raise EmbeddedServersError(f"the servers of {self._directory} are already started")
        account = choose_account()
        try:
            create_passage(self._directory, account)
        except OSError as error:
            raise DataUnfit(f"{self._directory} can't be made: {error.strerror}") from None
        with ExitStack() as stack:
            stack.enter_context(DirectoryLock(self._directory))
            directory = choose_data_directory(self._directory, account, self._outside)
            # Locked as well: of a copied directory both copies name the same place outside.
            stack.enter_context(DirectoryLock(directory.root, named_in_errors=directory.root))
            directory.prepare()
            running = self._start_in(directory, stack)
            self._stack = stack.pop_all()
        return running

    def _start_in(self, directory: DataDirectory, stack: ExitStack) -> Running:
        notes = _end_stale_processes(directory)
        binaries, copied_to = binaries_for(directory.account, directory.root)
        sockets = directory.sockets()
        stack.callback(directory.leave_sockets, sockets)
        postgres = start_postgres(directory, binaries, sockets, self._durable)
        stack.callback(postgres.process.stop)
        valkey = start_valkey(directory, binaries, sockets)
        stack.callback(valkey.process.stop)
        self._processes = (postgres.process, valkey.process)
        if directory.is_outside:
            notes.append(
                f"{directory.account.name} can't enter {self._directory}, so the servers' data is in {directory.root}: "
                "the two belong together when you back up, move or delete."
            )
        if copied_to is not None:
            notes.append(
                f"{directory.account.name} can't execute the installed servers, so a copy of them is in {copied_to}."
            )
        if sockets.parent != directory.root:
            notes.append(
                f"The servers' sockets are in {sockets}, as the path of {directory.root} is too long or not plain."
            )
        main, keys = DATABASES
        return Running(
            database_admin_url=postgres.url(ADMIN_ROLE, ADMIN_DATABASE),
            database_url=postgres.url(main, main),
            key_database_url=postgres.url(keys, keys),
            broker_url=valkey.broker_url,
            redis_url=valkey.redis_url,
            notes=tuple(notes),
        )

    def ended_servers(self) -> tuple[str, ...]:
        """The names of servers that ended on their own since the start; empty as long as all is well."""
        return tuple(process.name for process in self._processes if process.has_ended)

    def stop(self) -> None:
        """Stop both and give up the directory; does nothing if they aren't started. Raises ServerDidNotStop."""
        stack, self._stack, self._processes = self._stack, None, ()
        if stack is not None:
            stack.close()

    def __enter__(self) -> Running:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _end_stale_processes(directory: DataDirectory) -> list[str]:
    # initdb works beside the data directory, PostgreSQL in it.
    ended = {
        POSTGRES: end_stale_processes(POSTGRES, [cluster_directory(directory), directory.postgres], directory.account),
        VALKEY: end_stale_processes(VALKEY, [directory.valkey], directory.account),
    }
    return [
        f"Ended {kind.name} (process {', '.join(map(str, pids))}), left over by a run that was killed."
        for kind, pids in ended.items()
        if pids
    ]
