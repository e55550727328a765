"""Runs the PostgreSQL server: creates its data directory, starts it, says who may open which database.

Decides the server's settings and roles. Doesn't decide the tables (service.store) nor the
place of files (data_directory.py).
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import pq, sql
from sqlalchemy import URL, ClauseElement, Text, bindparam, column, select, table
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from service.embedded.binaries import Binaries
from service.embedded.data_directory import DataDirectory, sync_directory
from service.embedded.drop_privileges import BARE_ENVIRONMENT
from service.embedded.errors import DataUnfit, ServerDidNotStart
from service.embedded.passwords import password
from service.embedded.server_process import ServerProcess, log_tail, start_server
from service.embedded.stale_processes import POSTGRES, processes_of

PORT = 5432  # part of the socket's name; nothing listens on TCP
ADMIN_ROLE = "expunge_admin"
ADMIN_DATABASE = "postgres"
# Each database is owned by the role of its own name, and no other role may connect to it.
DATABASES = ("expunge", "expunge_keys")

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # No personal data in the log: an error's message, detail and statement can all quote a value. LOG and FATAL stay.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class RunningPostgres:
    """A server that answers, and how to sign in as each role."""

    process: ServerProcess
    sockets: Path
    secrets: Path

    def url(self, role: str, database: str) -> str:
        """An SQLAlchemy URL with the password in it: never to be logged."""
        url = URL.create(
            "postgresql+psycopg",
            username=role,
            password=password(self.secrets, role, may_create=False),
            database=database,
            query={"host": str(self.sockets), "port": str(PORT)},
        )
        return url.render_as_string(hide_password=False)


def cluster_directory(directory: DataDirectory) -> Path:
    return directory.postgres / "data"


def start_postgres(directory: DataDirectory, binaries: Binaries, sockets: Path, durable: bool) -> RunningPostgres:
    """Start the server on existing or new data; return when all roles and databases exist.

    Expects that no other server of this place is alive (end_stale_processes).
    """
    data = cluster_directory(directory)
    exists = data.exists()
    for role in (ADMIN_ROLE, *DATABASES):
        password(directory.secrets, role, may_create=not exists)
    _remove_unfinished(directory)
    if not exists:
        _create_data(directory, binaries, durable)
    _refuse_another_version(data, binaries)
    _remove_pid_file_of_another(directory)
    settings = {**_SETTINGS, **({} if durable else _NOT_DURABLE), "unix_socket_directories": f'"{sockets}"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    process = start_server(
        POSTGRES,
        [binaries.postgres, "-D", data, *options],
        directory.account,
        directory.postgres,
        directory.root / "postgres.log",
    )
    try:
        process.wait_until(lambda: _answers(sockets))
        running = RunningPostgres(process, sockets, directory.secrets)
        _ensure_roles_and_databases(running)
    except BaseException:
        process.stop()
        raise
    return running


def _answers(sockets: Path) -> bool:
    # Asks without signing in, so that a wrong password isn't mistaken for a server that isn't ready.
    address = f"host={sockets} port={PORT} connect_timeout=10".encode()
    return bool(pq.PGconn.ping(address) == pq.Ping.OK)


def _create_data(directory: DataDirectory, binaries: Binaries, durable: bool) -> None:
    """Create the data directory under another name and rename it when it is complete.

    So a crash leaves no partial data directory.
    """
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=directory.postgres))
    directory.account.own(unfinished)
    data, password_file = unfinished / "data", unfinished / "password"
    fd = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        os.fchown(fd, directory.account.uid, directory.account.gid)
        stream.write(password(directory.secrets, ADMIN_ROLE, may_create=False))
    log = directory.root / "initdb.log"
    command = [
        binaries.initdb,
        *("--pgdata", data, "--username", ADMIN_ROLE, "--pwfile", password_file, "--auth", "scram-sha-256"),
        *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        "--no-instructions",
        *(() if durable else ("--no-sync",)),
    ]
    process = start_server(POSTGRES, command, directory.account, directory.postgres, log)
    try:
        status = process.wait()
    except BaseException:
        process.stop()
        raise
    if status != 0:
        raise ServerDidNotStart("initdb of PostgreSQL", log, log_tail(log))
    password_file.unlink()
    data.rename(cluster_directory(directory))
    unfinished.rmdir()
    if durable:
        sync_directory(directory.postgres)


def _remove_unfinished(directory: DataDirectory) -> None:
    for unfinished in directory.postgres.glob("unfinished-*"):
        shutil.rmtree(unfinished)


def _refuse_another_version(data: Path, binaries: Binaries) -> None:
    of_data = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    answer = subprocess.run(
        [binaries.postgres, "--version"], check=True, capture_output=True, env=BARE_ENVIRONMENT, text=True
    )
    of_binaries = answer.stdout.split()[-1].partition(".")[0]
    if of_data != of_binaries:
        raise DataUnfit(
            f"{data} was written by PostgreSQL {of_data}, the installed server is {of_binaries}: "
            f"dump it with a server of version {of_data} and restore the dump into a new directory"
        )


def _remove_pid_file_of_another(directory: DataDirectory) -> None:
    """Remove a postmaster.pid with the process id of a process that isn't a server of this directory.

    PostgreSQL itself refuses to start while any process of its user has that id, which after a restart of the machine
    or the container is often another one of ours. Removing it is safe only because the directory is locked and
    the kernel was asked for every server that works in it.
    """
    file = cluster_directory(directory) / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        first = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        is_alive = first.isdecimal() and Path("/proc", first).exists()
        if is_alive and not processes_of(POSTGRES, [cluster_directory(directory)], directory.account):
            file.unlink()


_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def _compiled(statement: ClauseElement) -> bytes:
    # psycopg takes bytes for text that isn't a literal of its caller.
    return str(statement.compile(dialect=_DIALECT)).encode()


_FIND_DATABASE = _compiled(
    select(column("datname", Text)).select_from(table("pg_database")).where(column("datname") == bindparam("name"))
)
_FIND_ROLE = _compiled(
    select(column("rolname", Text)).select_from(table("pg_roles")).where(column("rolname") == bindparam("name"))
)


def _ensure_roles_and_databases(running: RunningPostgres) -> None:
    """Bring roles and databases into being; safe to repeat, also after a crash between any two statements."""
    try:
        connection = psycopg.connect(
            host=str(running.sockets),
            port=PORT,
            dbname=ADMIN_DATABASE,
            user=ADMIN_ROLE,
            password=password(running.secrets, ADMIN_ROLE, may_create=False),
            autocommit=True,
        )
    except psycopg.OperationalError:
        raise DataUnfit(
            f"PostgreSQL refuses the passwords in {running.secrets}: they are not those of its data"
        ) from None
    with connection:
        for name in DATABASES:
            _ensure_role(connection, running, name)
            found = connection.execute(_FIND_DATABASE, {"name": name}).fetchone()
            identifier = sql.Identifier(name)
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(identifier))


def _ensure_role(connection: psycopg.Connection, running: RunningPostgres, role: str) -> None:
    if connection.execute(_FIND_ROLE, {"name": role}).fetchone() is not None:
        return
    secret = password(running.secrets, role, may_create=False).encode()
    # Hashed here, so that the password itself is in no statement, and so in no log, whatever the settings.
    verifier = connection.pgconn.encrypt_password(secret, role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    connection.execute(statement)
