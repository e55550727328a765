"""Directories that the servers' account can enter, and a process that starts servers so that it can be killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from service.embedded import EmbeddedServers
from service.embedded.drop_privileges import choose_account
from service.embedded.stale_processes import POSTGRES, VALKEY, ServerKind, processes_of

# Run without HOME, as in a bare container.
_STARTER = """
import signal, sys
from pathlib import Path
from service.embedded import EmbeddedServers
EmbeddedServers(Path(sys.argv[1]), durable=False, outside=Path(sys.argv[2])).start()
print("started", flush=True)
signal.pause()
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A short directory below /tmp that every user may pass through; pytest's own are 0700."""
    directory = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def _ended_run() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    directory.chmod(0o711)
    with EmbeddedServers(directory / "data", durable=False, outside=directory / "outside") as running:
        url = make_url(running.database_url).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            connection.execute("CREATE TABLE request AS SELECT 7 AS id")
        assert running.notes == ()
    yield directory / "data"
    shutil.rmtree(directory)


@pytest.fixture
def written(base: Path, _ended_run: Path) -> Path:
    """`<base>/data` as a run leaves it that wrote request 7 and ended well. A copy: creating data takes a second."""
    subprocess.run(["cp", "-a", str(_ended_run), str(base / "data")], check=True)
    return base / "data"


@dataclass(frozen=True)
class KilledRun:
    """What a run left behind that was ended by SIGKILL."""

    postgres_pids: tuple[int, ...]
    valkey_pids: tuple[int, ...]

    def kill_servers(self) -> None:
        for pid in (*self.postgres_pids, *self.valkey_pids):
            os.kill(pid, signal.SIGKILL)


def pids(kind: ServerKind, root: Path) -> tuple[int, ...]:
    directories = [root / "postgres" / "data"] if kind is POSTGRES else [root / "valkey"]
    return processes_of(kind, directories, choose_account())


@pytest.fixture
def killed_run() -> Iterator[Callable[[Path], KilledRun]]:
    """Starts servers in `<directory>` from another process, and kills that process with SIGKILL."""
    roots: list[Path] = []

    def run(directory: Path) -> KilledRun:
        command = [sys.executable, "-c", _STARTER, str(directory), str(directory.parent / "outside")]
        environment = {name: value for name, value in os.environ.items() if name != "HOME"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as starter:
            assert starter.stdout is not None
            assert starter.stdout.readline() == b"started\n"
            root = directory / "servers"
            roots.append(root)
            left = KilledRun(pids(POSTGRES, root), pids(VALKEY, root))
            starter.kill()
        assert left.postgres_pids
        assert left.valkey_pids
        return left

    yield run
    for root in roots:
        # Only what is still a server of that directory, which it is only if the code under test failed to end it.
        for pid in (*pids(POSTGRES, root), *pids(VALKEY, root)):
            with contextlib.suppress(ProcessLookupError):  # a child, gone with its parent
                os.kill(pid, signal.SIGKILL)
