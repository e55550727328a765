"""PostgreSQL and Valkey of one fault test alone, which may be killed and started again on their data.

Decides how they die and come back. Everything here was started by the test process itself, and is ended by process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis
from sqlalchemy import make_url

from service.embedded.binaries import binaries_for
from service.embedded.data_directory import choose_data_directory, create_passage
from service.embedded.drop_privileges import choose_account
from service.embedded.postgres import ADMIN_DATABASE, ADMIN_ROLE, DATABASES, start_postgres
from service.embedded.valkey import start_valkey
from service.store.migrate import migrate, migrate_keys


class OwnServers:
    """Durable, as in production: what a server acknowledged must be there after it was killed."""

    def __init__(self, directory: Path) -> None:
        account = choose_account()
        create_passage(directory, account)
        self._place = choose_data_directory(directory, account, directory / "outside")
        self._place.prepare()
        self._binaries, _ = binaries_for(account, self._place.root)
        self._sockets = self._place.sockets()
        self._postgres = start_postgres(self._place, self._binaries, self._sockets, durable=True)
        self._valkey = start_valkey(self._place, self._binaries, self._sockets)
        self._broker_is_up = True
        migrate(self.urls["database_url"])
        migrate_keys(self.urls["key_database_url"])
        self._tell_of_deadlocks()

    @property
    def urls(self) -> dict[str, str]:
        """What the service's processes need."""
        main, keys = DATABASES
        return {
            "database_url": self._postgres.url(main, main),
            "key_database_url": self._postgres.url(keys, keys),
            "broker_url": self._valkey.broker_url,
        }

    def broker(self) -> redis.Redis:
        """A client of the broker."""
        return redis.Redis.from_url(self._valkey.redis_url)

    def _tell_of_deadlocks(self) -> None:
        """The product keeps statements out of the server's log; here the people are made up."""
        url = make_url(self._postgres.url(ADMIN_ROLE, ADMIN_DATABASE)).set(drivername="postgresql")
        main, _ = DATABASES
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            for setting in ("log_min_messages = error", "log_error_verbosity = default"):
                connection.execute(f"ALTER ROLE {main} SET {setting}".encode())

    def deadlocks(self) -> list[str]:
        """What the server's log says of transactions that waited in a circle, since its last start."""
        lines = (self._place.root / "postgres.log").read_text(errors="replace").splitlines()
        starts = [n for n, line in enumerate(lines) if "deadlock detected" in line]
        return ["\n".join(lines[n : n + 12]) for n in starts]

    def restart_postgres(self) -> None:
        """An immediate shutdown, as of a crash, and a start with recovery. The sockets stay where they are."""
        os.kill(self._postgres.process.pid, signal.SIGQUIT)
        self._postgres.process.wait()
        self._postgres = start_postgres(self._place, self._binaries, self._sockets, durable=True)

    def kill_broker(self) -> None:
        """SIGKILL; nothing that it held comes back."""
        os.kill(self._valkey.process.pid, signal.SIGKILL)
        self._valkey.process.wait()
        self._broker_is_up = False

    def start_broker(self) -> None:
        """Start it again, empty."""
        self._valkey = start_valkey(self._place, self._binaries, self._sockets)
        self._broker_is_up = True

    def stop(self) -> None:
        """End both."""
        if self._broker_is_up:
            self._valkey.process.stop()
        self._postgres.process.stop()
        self._place.leave_sockets(self._sockets)


@contextlib.contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Start both in a directory that is thrown away."""
    # Not pytest's tmp_path: it is 0700, and as root the servers' account must get there. Short, for the sockets.
    directory = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        servers = OwnServers(directory / "data")
        try:
            yield servers
        finally:
            servers.stop()
    finally:
        shutil.rmtree(directory)
