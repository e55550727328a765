"""Who may do what: passwords are needed, nothing listens on TCP, the servers' account can't read what is ours."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from kombu import Connection
from sqlalchemy import URL, make_url

from service.embedded import EmbeddedServers, Running
from service.embedded.drop_privileges import choose_account
from service.embedded.server_process import start_server
from service.embedded.stale_processes import POSTGRES, VALKEY, processes_of


@dataclass(frozen=True)
class Started:
    directory: Path
    running: Running

    def pids(self) -> tuple[int, ...]:
        root, account = self.directory / "servers", choose_account()
        return processes_of(POSTGRES, [root / "postgres/data"], account) + processes_of(
            VALKEY, [root / "valkey"], account
        )

    def passwords(self) -> list[str]:
        return [file.read_text() for file in (self.directory / "secrets").glob("*.password")]


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    base = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    base.chmod(0o711)
    with EmbeddedServers(base / "data", durable=False, outside=base / "outside") as running:
        yield Started(base / "data", running)
    shutil.rmtree(base)


def connect(url: URL | str) -> psycopg.Connection[Any]:
    plain = make_url(url).set(drivername="postgresql")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


@pytest.mark.parametrize("name", ["database_admin_url", "database_url", "key_database_url"])
@pytest.mark.parametrize("password", ["wrong", None])
def test_postgres_refuses_whoever_lacks_the_password(started: Started, name: str, password: str | None) -> None:
    right = make_url(getattr(started.running, name))
    connect(right).close()
    wrong = URL.create("postgresql", right.username, password, database=right.database, query=right.query)
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(wrong)


def test_every_rule_of_access_asks_for_a_scram_password(started: Started) -> None:
    with connect(started.running.database_admin_url) as connection:
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").fetchall()
    assert methods == [("scram-sha-256",)]
    assert len(stored) == 3
    assert all(password.startswith("SCRAM-SHA-256$") for (password,) in stored)


@pytest.mark.parametrize(
    ("signed_in_by", "database"),
    [("database_url", "expunge_keys"), ("key_database_url", "expunge")],
)
def test_neither_role_gets_into_the_others_database(started: Started, signed_in_by: str, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(make_url(getattr(started.running, signed_in_by)).set(database=database))


def test_the_roles_of_the_databases_have_no_power_over_the_server(started: Started) -> None:
    with connect(started.running.database_admin_url) as connection:
        powers = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
            " FROM pg_roles WHERE rolname IN ('expunge', 'expunge_keys')"
        ).fetchall()
        owners = connection.execute(
            "SELECT datname, rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba"
            " WHERE datname LIKE 'expunge%'"
        ).fetchall()
    assert powers == [(False,), (False,)]
    assert sorted(owners) == [("expunge", "expunge"), ("expunge_keys", "expunge_keys")]


@pytest.mark.parametrize("password", ["wrong", ""])
def test_valkey_refuses_whoever_lacks_the_password(started: Started, password: str) -> None:
    right = started.running.redis_url
    scheme, _, rest = right.partition("://")
    wrong = f"{scheme}://{':' + password + '@' if password else ''}{rest.partition('@')[2]}"
    assert redis.Redis.from_url(right).ping()
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(wrong).ping()


def test_nothing_listens_on_tcp(started: Started) -> None:
    with connect(started.running.database_admin_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    with redis.Redis.from_url(started.running.redis_url) as client:
        assert client.config_get("port") == {"port": "0"}


def test_valkey_refuses_writes_rather_than_forgetting_messages(started: Started) -> None:
    with redis.Redis.from_url(started.running.redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_files_with_passwords_are_ours_alone(started: Started) -> None:
    secrets = started.directory / "secrets"
    files = sorted(secrets.iterdir())
    assert [file.name for file in files if file.suffix == ".conf"] == ["valkey.conf"]
    assert len(started.passwords()) == 4
    assert len(set(started.passwords())) == 4
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert {file.stat().st_uid for file in files} == {os.geteuid()}


def test_the_servers_directories_are_the_accounts_alone(started: Started) -> None:
    account = choose_account()
    for name in ("postgres", "postgres/data", "valkey", "sockets"):
        found = (started.directory / "servers" / name).stat()
        assert (name, found.st_mode & 0o777, found.st_uid) == (name, 0o700, account.uid)


def test_no_password_is_on_a_command_line_in_a_log_in_the_servers_files_or_in_a_repr(started: Started) -> None:
    # The log of the module's servers holds all that the tests before have refused.
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in started.pids()]
    assert len(seen) >= 2
    seen += [log.read_text() for log in (started.directory / "servers").glob("*.log")]
    assert len(seen) >= 5
    for kept in ("postgres", "valkey"):
        files = [file for file in (started.directory / "servers" / kept).rglob("*") if file.is_file()]
        seen += [file.read_bytes().decode(errors="replace") for file in files]
    seen += [repr(started.running), str(started.running)]
    assert not [password for password in started.passwords() if any(password in text for text in seen)]


def test_the_servers_log_holds_no_values(started: Started) -> None:
    with connect(started.running.database_url) as connection:
        connection.execute("CREATE TABLE person (email text PRIMARY KEY)")
        connection.execute("INSERT INTO person VALUES (%s)", ("ada@example.test",))
        for statement in (
            "INSERT INTO person VALUES (%s)",
            "SELECT %s::text::int",
            "SELECT 1/0 FROM person WHERE email = %s",
            "DO $$BEGIN RAISE LOG USING MESSAGE = 'seen', DETAIL = 'ada@example.test'; END$$",
        ):
            # Put into the statement by the client, as an ORM's literal or a careless query would.
            literal = statement.replace("%s", "'ada@example.test'")
            if statement.startswith("DO"):
                connection.execute(literal)
            else:
                with pytest.raises(psycopg.Error):
                    connection.execute(literal)
    log = (started.directory / "servers/postgres.log").read_text()
    assert "seen" in log
    assert "example.test" not in log


def test_a_server_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_SECRET", "ours")
    monkeypatch.setenv("PGPORT", "1")
    log = tmp_path / "env.log"
    start_server(VALKEY, ["env"], choose_account(), Path("/"), log).wait()
    assert sorted(line.partition("=")[0] for line in log.read_text().splitlines()) == ["LC_ALL", "PATH", "TZ"]


def test_the_urls_hold_whatever_the_environment_says(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.example.test")
    connect(started.running.database_url).close()


def test_kombu_carries_a_message_through_the_broker_url(started: Started) -> None:
    with Connection(started.running.broker_url) as connection:
        queue = connection.SimpleQueue("nudges")
        queue.put({"system": "crm"})
        assert queue.get(timeout=5).payload == {"system": "crm"}
    with redis.Redis.from_url(started.running.redis_url) as client:
        assert client.exists("_kombu.binding.nudges")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
class TestAsRoot:
    def test_the_servers_are_not_root(self, started: Started) -> None:
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in started.pids()} == {choose_account().uid}

    def test_the_servers_have_none_of_roots_groups(self, tmp_path: Path) -> None:
        account, log, before = choose_account(), tmp_path / "id.log", os.getgroups()
        os.setgroups([0, 4])
        try:
            start_server(VALKEY, ["id", "-G"], account, Path("/"), log).wait()
        finally:
            os.setgroups(before)
        assert log.read_text().split() == [str(account.gid)]

    def test_their_account_can_read_neither_our_passwords_nor_our_keys(self, started: Started) -> None:
        keys = started.directory / "keys"
        keys.mkdir(mode=0o700)
        (keys / "key").write_text("key")
        (keys / "key").chmod(0o644)
        account = choose_account()
        assert account.can_enter(started.directory / "servers")
        assert not account.can_read(keys / "key")
        assert not account.can_read(started.directory / "secrets")
        assert not account.can_read(started.directory / "secrets/valkey.conf")
        assert not account.can_read(started.directory / "servers/postgres.log")

    def test_even_a_superuser_of_postgres_can_read_neither(self, started: Started) -> None:
        with connect(started.running.database_admin_url) as connection:
            assert connection.execute("SELECT pg_read_file('postgresql.conf') <> ''").fetchone() == (True,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "SELECT pg_read_file(%s)", (str(started.directory / "secrets/expunge_keys.password"),)
                )
