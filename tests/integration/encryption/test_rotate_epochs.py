"""Epochs rotate without losing a key, whoever writes meanwhile and wherever the process dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, event, text

from connectors.base.values import Identifier
from service.audit.rebuild import replay_audit
from service.domain.encryption.epochs import EpochState
from service.encryption.rotate_epochs import adopt_epochs, rotate_epochs
from service.encryption.status import read_encryption_status
from service.requests.seal import seal_due_requests
from service.settings import Settings
from service.store.encryption.epoch_files import EpochFiles
from service.store.encryption.epoch_secrets import EpochKeyMissing
from service.store.encryption.key_encryption_keys import fixed_keys
from service.store.encryption.key_store import WITHOUT_EPOCH, request_owner
from service.store.encryption.sealing import seal
from service.store.stores import Stores
from tests.integration.encryption.conftest import Open, let_seal, submit

EMAIL = Identifier("email", "subject@example.test")


class Died(Exception):  # noqa: N818 - says what happened
    """The process ended here."""


def owners(count: int) -> list[str]:
    return [request_owner(uuid4()) for _ in range(count)]


def files(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.service.data_directory / "keys/epochs").iterdir())


def states(stores: Stores) -> list[str]:
    return [epoch.state.value for epoch in stores.keys.epochs.all()]


def test_keys_of_open_requests_outlive_their_epoch_and_those_of_sealed_ones_do_not(
    stores: Stores, settings: Settings
) -> None:
    opened, sealed = (submit(stores, settings, EMAIL) for _ in range(2))
    key = stores.keys.one(request_owner(opened))
    first = files(settings)
    let_seal(stores, sealed)
    assert seal_due_requests(stores) == 1

    work = rotate_epochs(stores, settings, now=True)

    assert (work.begun, work.destroyed) == (True, 1)
    assert stores.keys.one(request_owner(opened)) == key
    assert states(stores) == ["destroyed", "current"]
    assert len(files(settings)) == 1
    assert files(settings) != first


def test_an_epoch_ends_by_its_age_and_its_key_is_kept_for_backups(stores: Stores, settings: Settings) -> None:
    kept = settings.keys.model_copy(update={"epoch_seconds": 3600.0, "epoch_backup_seconds": 7200.0})
    settings = Settings(**{**vars(settings), "keys": kept})
    stores.keys.create(owners(1))

    def later(seconds: int) -> None:
        with stores.key_engine.begin() as connection:
            columns = ("created_at", "retired_at", "emptied_at")
            moved = ", ".join(f"{c} = {c} - make_interval(secs => {seconds})" for c in columns)
            connection.execute(text(f"UPDATE key_epochs SET {moved}"))

    assert rotate_epochs(stores, settings).begun is False
    later(3601)
    assert rotate_epochs(stores, settings).begun is True
    assert states(stores) == ["retired", "current"]
    later(7100)
    assert rotate_epochs(stores, settings).destroyed == 0
    later(101)
    assert rotate_epochs(stores, settings).destroyed == 1


def test_a_process_that_knows_the_old_epoch_writes_under_the_new_one(
    open_stores: Open, stores: Stores, settings: Settings
) -> None:
    slow = open_stores()
    (before,) = slow.keys.create_new(owners(1))  # It has the epoch in memory from now on.
    rotate_epochs(stores, settings, now=True)

    created = slow.keys.create_new(owners(3))
    kept = slow.keys.create([before, *owners(1)])

    assert files(settings) == [f"{stores.keys.epochs.current()}.epoch"]
    fresh = open_stores()
    assert fresh.keys.get(list(created)) == created
    assert fresh.keys.get(list(kept)) == kept


def test_a_rotation_waits_for_a_key_that_is_being_written(
    open_stores: Open, stores: Stores, settings: Settings
) -> None:
    writer = open_stores()
    writer.keys.create(owners(1))
    (owner,) = owners(1)
    held, released = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        if threading.current_thread().name == "writer":
            held.set()
            assert released.wait(30)

    event.listen(writer.key_engine, "commit", hold)
    created: dict[str, bytes] = {}
    thread = threading.Thread(target=lambda: created.update(writer.keys.create([owner])), name="writer")
    rotation = threading.Thread(target=lambda: rotate_epochs(stores, settings, now=True))
    thread.start()
    assert held.wait(30)
    rotation.start()
    wait_until(lambda: waits_for_a_table(writer.key_engine))
    assert states(writer) == ["current"]
    released.set()
    thread.join()
    rotation.join()

    assert states(writer) == ["destroyed", "current"]
    assert open_stores().keys.get([owner]) == created != {}


def waits_for_a_table(engine: Engine) -> bool:
    with engine.connect() as connection:
        found = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'data_keys'::regclass"
        return bool(connection.execute(text(found)).scalar_one())


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def test_writers_lose_nothing_while_epochs_come_and_go(open_stores: Open, stores: Stores, settings: Settings) -> None:
    over = threading.Event()
    created: list[dict[str, bytes]] = []
    failed: list[BaseException] = []

    def write() -> None:
        mine = open_stores()
        try:
            while not over.is_set():
                created.append(mine.keys.create_new(owners(3)))
                created.append(mine.keys.create(owners(2)))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    destroyed = 0
    while destroyed < 5:
        destroyed += rotate_epochs(stores, settings, now=True).destroyed
    over.set()
    for thread in threads:
        thread.join()

    assert failed == []
    keys = {owner: key for each in created for owner, key in each.items()}
    assert len(keys) > 5
    assert open_stores().keys.get(list(keys)) == keys


@contextmanager
def dying(stores: Stores, at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The process dies at the so-manieth point: before or after a commit, before or after the directory changes."""
    passed: list[str] = []

    def point(name: str) -> None:
        passed.append(name)
        if len(passed) == at:
            raise Died

    def on_commit(connection: Connection) -> None:
        point("before commit")

    engines = (stores.engine, stores.key_engine)
    for engine in engines:
        event.listen(engine, "commit", on_commit)
    with monkeypatch.context() as patch:
        for name in ("create", "destroy"):
            real = getattr(EpochFiles, name)

            def around(self: EpochFiles, epoch: UUID, real: Callable[..., None] = real, name: str = name) -> None:
                point(f"before {name}")
                real(self, epoch)
                point(f"after {name}")

            patch.setattr(EpochFiles, name, around)
        for name in ("link", "unlink", "fsync", "pwrite"):
            call = getattr(os, name)

            def within(*given: object, call: Callable[..., object] = call, name: str = name) -> object:
                point(name)
                return call(*given)

            patch.setattr(f"service.store.encryption.epoch_files.os.{name}", within)
        try:
            yield passed
        finally:
            for engine in engines:
                event.remove(engine, "commit", on_commit)


def test_a_rotation_that_dies_anywhere_goes_on_and_loses_nothing(
    open_stores: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = open_stores()
    keys = stores.keys.create(owners(5))
    points: set[str] = set()
    for at in range(1, 200):
        with dying(stores, at, monkeypatch) as passed:
            try:
                rotate_epochs(stores, settings, now=True)
                break
            except Died:
                points.add(passed[-1])
        stores.close()
        stores = open_stores()
        assert stores.keys.get(list(keys)) == keys
        rotate_epochs(stores, settings)
        keys |= stores.keys.create_new(owners(1))
    else:
        raise AssertionError("it never came to an end")
    assert points >= {"before create", "after create", "before destroy", "after destroy", "before commit", "fsync"}
    adopt_epochs(stores, operator="ada")
    rotate_epochs(stores, settings)
    assert open_stores().keys.get(list(keys)) == keys
    assert files(settings) == [f"{stores.keys.epochs.current()}.epoch"]
    assert set(states(stores)) == {"destroyed", "current"}
    assert replay_audit(stores.engine).differences == ()


def test_the_log_tells_of_each_epoch_once(stores: Stores, settings: Settings) -> None:
    for _ in range(3):
        rotate_epochs(stores, settings, now=True)
        rotate_epochs(stores, settings)

    with stores.engine.begin() as connection:
        raw = connection.execute(text("SELECT convert_from(entry, 'UTF8') FROM audit_pending ORDER BY id"))
        told = [(e.split('"event":"')[1].split('"')[0], e.split('"object_id":"')[1][:36]) for e in raw.scalars()]
    ended = [str(e.id) for e in stores.keys.epochs.all() if e.state is EpochState.DESTROYED]
    assert sorted(key for what, key in told if what == "encryption_epoch_destroyed") == sorted(ended)
    assert sorted(key for what, key in told if what == "encryption_epoch_begun") == sorted(
        str(e.id) for e in stores.keys.epochs.all()
    )
    assert replay_audit(stores.engine).differences == ()


def test_two_rotations_do_not_meet(open_stores: Open, stores: Stores, settings: Settings) -> None:
    with open_stores().keys.epochs.one_at_a_time() as ours:
        assert ours
        assert rotate_epochs(stores, settings, now=True).busy
    assert rotate_epochs(stores, settings, now=True).begun


def test_keys_from_before_there_were_epochs_are_wrapped_anew(
    open_stores: Open, stores: Stores, settings: Settings
) -> None:
    secret = bytes.fromhex((settings.service.data_directory / "keys/key_encryption_key").read_text())
    old = {owner: os.urandom(32) for owner in owners(3)}
    with stores.key_engine.begin() as connection:
        for owner, key in old.items():
            values = {"o": owner, "w": seal(secret, key, f"data-key/{owner}"), "id": WITHOUT_EPOCH}
            connection.execute(text("INSERT INTO data_keys VALUES (:o, :w, :id)"), values)
    assert stores.keys.get(list(old)) == old

    rotate_epochs(stores, settings)

    assert dict(stores.keys.epochs.keys_by_epoch()) == {str(stores.keys.epochs.current()): 3}
    assert open_stores().keys.get(list(old)) == old


def test_a_destroyed_file_leaves_nothing_in_its_blocks(tmp_path: Path) -> None:
    secrets = EpochFiles(tmp_path / "epochs", fixed_keys(bytes(32)))
    epoch = uuid4()
    secrets.create(epoch)
    path = tmp_path / "epochs" / f"{epoch}.epoch"
    content = path.read_bytes()
    os.link(path, tmp_path / "block")  # The same blocks, which unlinking alone would leave as they are.
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    secrets.destroy(epoch)

    left = (tmp_path / "block").read_bytes()
    assert len(left) == len(content)
    assert b"wrapped" not in left
    assert list((tmp_path / "epochs").iterdir()) == []
    with pytest.raises(EpochKeyMissing):
        secrets.read(epoch)


def test_tidying_destroys_drafts_and_no_key(tmp_path: Path) -> None:
    secrets = EpochFiles(tmp_path, fixed_keys(bytes(32)))
    epoch = uuid4()
    secrets.create(epoch)
    key = secrets.read(epoch)
    # Died between the link and the draft's unlink: both names are the same bytes.
    os.link(tmp_path / f"{epoch}.epoch", tmp_path / f"{epoch}.draft")
    (tmp_path / f"{uuid4()}.draft").write_text("half")

    secrets.tidy()

    assert secrets.read(epoch) == key
    assert [path.name for path in tmp_path.iterdir()] == [f"{epoch}.epoch"]


def rows_of_the_key_store(stores: Stores) -> dict[str, list[dict[str, object]]]:
    """What a backup of the key database holds."""
    with stores.key_engine.begin() as connection:
        return {
            table: [dict(row._mapping) for row in connection.execute(text(f"SELECT * FROM {table}"))]
            for table in ("key_epochs", "data_keys")
        }


def restore_the_key_store(stores: Stores, backup: dict[str, list[dict[str, object]]]) -> None:
    with stores.key_engine.begin() as connection:
        for table, rows in backup.items():
            connection.execute(text(f"DELETE FROM {table}"))
            for row in rows:
                values = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row)


def test_a_backup_can_be_restored_while_the_keys_of_its_epochs_are_kept(
    open_stores: Open, stores: Stores, settings: Settings
) -> None:
    kept = settings.keys.model_copy(update={"epoch_backup_seconds": 7200.0})
    keeping = Settings(**{**vars(settings), "keys": kept})
    keys = stores.keys.create(owners(3))
    backup = rows_of_the_key_store(stores)
    for _ in range(2):
        rotate_epochs(stores, keeping, now=True)
    later = stores.keys.create(owners(1))

    restore_the_key_store(stores, backup)

    restored = open_stores()
    restored.keys.check()
    assert restored.keys.get([*keys, *later]) == keys
    # Epoch keys from after the backup are unknown to it: an operator has them destroyed.
    rotate_epochs(restored, settings, now=True)
    assert len(files(settings)) == 3
    assert len(read_encryption_status(restored, settings).troubles) == 2
    assert adopt_epochs(restored, operator="ada") == 2
    rotate_epochs(restored, settings)
    assert read_encryption_status(restored, settings).is_in_order
    assert restored.keys.get(list(keys)) == keys
    assert files(settings) == [f"{restored.keys.epochs.current()}.epoch"]


def test_the_keys_of_another_installation_in_the_same_place_are_left_alone(stores: Stores, settings: Settings) -> None:
    stores.keys.create(owners(1))
    directory = settings.service.data_directory / "keys/epochs"
    theirs, epoch = EpochFiles(directory, fixed_keys(b"t" * 32)), uuid4()
    theirs.create(epoch)

    for _ in range(3):
        rotate_epochs(stores, settings, now=True)

    assert theirs.read(epoch)
    assert len(files(settings)) == 2


def test_a_backup_that_is_too_old_stops_the_start(open_stores: Open, stores: Stores, settings: Settings) -> None:
    keys = stores.keys.create(owners(3))
    backup = rows_of_the_key_store(stores)
    rotate_epochs(stores, settings, now=True)
    restore_the_key_store(stores, backup)

    restored = open_stores()
    with pytest.raises(EpochKeyMissing):
        restored.keys.check()
    with pytest.raises(EpochKeyMissing):
        restored.keys.get(list(keys))
