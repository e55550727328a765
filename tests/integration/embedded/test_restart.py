"""Data survive every way a run can end, and nobody else's process is touched on the way back."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from service.embedded import (
    DataUnfit,
    DirectoryInUse,
    EmbeddedServers,
    EmbeddedServersError,
    Running,
    ServerDidNotStart,
)
from service.embedded.drop_privileges import BARE_ENVIRONMENT, choose_account
from service.embedded.postgres import ADMIN_ROLE
from service.embedded.stale_processes import POSTGRES, VALKEY, processes_of


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def write_request(running: Running) -> None:
    query(running.database_url, "CREATE TABLE request (id int)")
    query(running.database_url, "INSERT INTO request VALUES (7)")


def read_requests(running: Running) -> list[tuple[Any, ...]]:
    return query(running.database_url, "SELECT id FROM request")


def servers_in(directory: Path, *, durable: bool = False) -> EmbeddedServers:
    return EmbeddedServers(directory, durable=durable, outside=directory.parent / "outside")


def alive_in(directory: Path) -> tuple[int, ...]:
    root, account = directory / "servers", choose_account()
    postgres = processes_of(POSTGRES, [root / "postgres" / "data", root / "postgres"], account)
    return postgres + processes_of(VALKEY, [root / "valkey"], account)


def test_what_was_written_is_there_after_stop_and_start(base: Path) -> None:
    with servers_in(base / "data") as running:
        write_request(running)
        assert alive_in(base / "data")
    assert alive_in(base / "data") == ()
    with servers_in(base / "data") as running:
        assert read_requests(running) == [(7,)]
        assert running.notes == ()


def test_real_data_are_written_to_the_disk_before_a_commit_returns(base: Path) -> None:
    with servers_in(base / "data", durable=True) as running:
        names = "'fsync', 'synchronous_commit', 'full_page_writes'"
        found = query(running.database_url, f"SELECT DISTINCT setting FROM pg_settings WHERE name IN ({names})")
    assert found == [("on",)]


def test_a_second_start_in_the_same_directory_is_refused_and_harms_nothing(base: Path, written: Path) -> None:
    with servers_in(written) as running:
        with pytest.raises(DirectoryInUse, match=str(written)):
            servers_in(written).start()
        (base / "link").symlink_to(written)
        with pytest.raises(DirectoryInUse):
            servers_in(base / "link").start()
        assert read_requests(running) == [(7,)]
        assert redis.Redis.from_url(running.redis_url).ping()


def test_starting_what_is_started_is_refused_and_stopping_twice_is_not(written: Path) -> None:
    servers = servers_in(written)
    servers.start()
    try:
        with pytest.raises(EmbeddedServersError, match="already started"):
            servers.start()
    finally:
        servers.stop()
    servers.stop()


@pytest.mark.fault
def test_servers_left_over_by_a_killed_run_are_ended_and_their_data_kept(
    written: Path, killed_run: Callable[[Path], Any]
) -> None:
    left = killed_run(written)
    assert set(alive_in(written)) >= {*left.postgres_pids, *left.valkey_pids}
    with servers_in(written) as running:
        assert read_requests(running) == [(7,)]
        alive = alive_in(written)
        assert not {*left.postgres_pids, *left.valkey_pids} & set(alive)
        assert [note.split()[1] for note in running.notes] == ["PostgreSQL", "Valkey"]


@pytest.mark.fault
def test_a_start_after_everything_was_killed_finds_its_data(written: Path, killed_run: Callable[[Path], Any]) -> None:
    left = killed_run(written)
    left.kill_servers()
    assert (written / "servers/postgres/data/postmaster.pid").exists()
    assert (written / "servers/sockets/valkey.sock").exists()
    with servers_in(written) as running:
        assert read_requests(running) == [(7,)]
        assert redis.Redis.from_url(running.redis_url).ping()


@pytest.mark.fault
def test_an_old_process_id_that_is_somebody_elses_now_neither_stops_the_start_nor_ends_that_process(
    written: Path,
) -> None:
    account = choose_account()
    data = written / "servers/postgres/data"
    # The same user, even in the data directory: only the program tells that it is no server of ours.
    stranger = subprocess.Popen(["sleep", "300"], cwd=data, env=BARE_ENVIRONMENT, **account.identity)
    try:
        pid_file = data / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n\n\n")
        os.chown(pid_file, account.uid, account.gid)
        with servers_in(written) as running:
            assert read_requests(running) == [(7,)]
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.fault
def test_servers_of_another_directory_are_left_alone(base: Path, killed_run: Callable[[Path], Any]) -> None:
    killed_run(base / "data")
    with servers_in(base / "neighbour") as running:
        write_request(running)
        with servers_in(base / "data"):
            assert read_requests(running) == [(7,)]
            assert redis.Redis.from_url(running.redis_url).ping()


@pytest.mark.fault
def test_a_server_that_ends_on_its_own_is_named(base: Path) -> None:
    servers = servers_in(base / "data")
    servers.start()
    try:
        assert servers.ended_servers() == ()
        (valkey,) = processes_of(VALKEY, [base / "data/servers/valkey"], choose_account())
        os.kill(valkey, signal.SIGKILL)
        os.waitid(os.P_PID, valkey, os.WEXITED | os.WNOWAIT)
        assert servers.ended_servers() == ("Valkey",)
    finally:
        servers.stop()


def test_the_terminals_interrupt_does_not_reach_the_servers(written: Path) -> None:
    with servers_in(written):
        sessions = {os.getsid(pid) for pid in alive_in(written)}
        assert os.getsid(0) not in sessions


def test_a_start_that_fails_leaves_nothing_running_and_the_directory_free(written: Path) -> None:
    settings = written / "servers/postgres/data/postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "\nno_such_setting = 1\n")
    with pytest.raises(ServerDidNotStart, match="no_such_setting"):
        servers_in(written).start()
    assert alive_in(written) == ()
    settings.write_text(good)
    with servers_in(written) as running:
        assert read_requests(running) == [(7,)]


def test_a_valkey_that_fails_takes_postgres_with_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.embedded.valkey._CONFIGURATION", "no-such-directive yes\n")
    with pytest.raises(ServerDidNotStart, match="Valkey"):
        servers_in(base / "data").start()
    assert alive_in(base / "data") == ()


def test_half_created_data_are_created_anew(written: Path) -> None:
    postgres = written / "servers/postgres"
    (postgres / "data").rename(postgres / "unfinished-x")
    with servers_in(written) as running:
        write_request(running)
    assert [entry.name for entry in postgres.iterdir()] == ["data"]


@pytest.mark.parametrize("role", [ADMIN_ROLE, "expunge_keys"])
def test_existing_data_without_their_password_are_never_begun_anew(base: Path, written: Path, role: str) -> None:
    file = written / "secrets" / f"{role}.password"
    kept = file.rename(base / "kept")
    with pytest.raises(DataUnfit, match=role):
        servers_in(written).start()
    kept.rename(file)
    with servers_in(written) as running:
        assert read_requests(running) == [(7,)]


def test_a_password_that_is_not_the_datas_is_said_so_and_leaves_nothing_running(written: Path) -> None:
    (written / "secrets" / f"{ADMIN_ROLE}.password").write_text("0" * 64)
    with pytest.raises(DataUnfit, match="refuses the passwords") as refused:
        servers_in(written).start()
    assert "0" * 64 not in str(refused.value)
    assert alive_in(written) == ()


def test_data_of_another_version_are_not_opened(written: Path) -> None:
    (written / "servers/postgres/data/PG_VERSION").write_text("12\n")
    with pytest.raises(DataUnfit, match="PostgreSQL 12"):
        servers_in(written).start()
