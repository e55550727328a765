"""Run the Valkey server for the broker's messages and the short rate windows.

None of this data must survive a restart.
Decides the server's settings. Doesn't decide what is sent through it.
"""

from dataclasses import dataclass
from pathlib import Path

import redis

from service.embedded.binaries import Binaries
from service.embedded.data_directory import DataDirectory, write_durably
from service.embedded.passwords import password
from service.embedded.server_process import ServerProcess, start_server
from service.embedded.stale_processes import VALKEY

SOCKET_NAME = "valkey.sock"
ROLE = "broker"

# noeviction: with the memory used up a write fails loudly, instead of an old message vanishing silently.
_CONFIGURATION = """\
port 0
unixsocket {socket}
unixsocketperm 700
requirepass {password}
save ""
appendonly no
maxmemory-policy noeviction
daemonize no
"""


@dataclass(frozen=True)
class RunningValkey:
    """A server that answers, and its addresses."""

    process: ServerProcess
    socket: Path
    secrets: Path

    @property
    def broker_url(self) -> str:
        """Kombu's form (tried with kombu 5.7); the password is in it: never to be logged."""
        return f"redis+socket://:{password(self.secrets, ROLE, may_create=False)}@{self.socket}?virtual_host=0"

    @property
    def redis_url(self) -> str:
        """redis-py's form; the password is in it: never to be logged."""
        return f"unix://:{password(self.secrets, ROLE, may_create=False)}@{self.socket}?db=0"


def start_valkey(directory: DataDirectory, binaries: Binaries, sockets: Path) -> RunningValkey:
    """Start the server; returns when it answers. The configuration reaches it as its standard input.

    So the password is neither on a command line nor in a file that the account may read.
    """
    socket = sockets / SOCKET_NAME
    configuration = directory.secrets / "valkey.conf"
    secret = password(directory.secrets, ROLE, may_create=True)
    write_durably(configuration, _CONFIGURATION.format(socket=socket, password=secret))
    command = (str(binaries.valkey), "-")
    process = start_server(
        VALKEY, command, directory.account, directory.valkey, directory.root / "valkey.log", configuration
    )
    running = RunningValkey(process, socket, directory.secrets)
    try:
        process.wait_until(lambda: _answers(running))
    except BaseException:
        process.stop()
        raise
    return running


def _answers(running: RunningValkey) -> bool:
    try:
        with redis.Redis.from_url(running.redis_url, socket_timeout=10) as client:
            return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False  # not yet; the caller that waits checks whether the server is still alive
