"""The key-encryption key is replaced: epoch keys are wrapped anew, and nothing needs the old one afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from service.domain.errors import WrongState
from service.encryption.rotate_epochs import rotate_epochs
from service.encryption.rotate_kek import rotate_kek
from service.settings import Settings
from service.store.encryption import generated_kek
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.key_store import request_owner
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.integration.encryption.conftest import Open, settings_in

OLD, NEW = "11" * 32, "22" * 32


def keys_in(stores: Stores, count: int = 3) -> dict[str, bytes]:
    return stores.keys.create([request_owner(uuid4()) for _ in range(count)])


def test_a_generated_key_is_replaced_while_other_processes_run(open_stores: Open, settings: Settings) -> None:
    running, stores = open_stores(), open_stores()
    keys = keys_in(running)
    directory = settings.service.data_directory / "keys"
    old = (directory / "key_encryption_key").read_text()
    os.link(directory / "key_encryption_key", directory / "block")

    done = rotate_kek(stores, settings)

    assert (done.rewrapped, done.old_key_destroyed) == (1, True)
    assert (directory / "key_encryption_key").read_text() != old
    assert sorted(p.name for p in directory.iterdir()) == ["block", "epochs", "key_encryption_key", "pepper"]
    assert old not in (directory / "block").read_bytes().decode("latin-1")  # overwritten where it lay
    # The process that ran meanwhile goes on: it reads the new key when it needs it, also for the next epoch.
    running.keys.check()
    rotate_epochs(running, settings, now=True)
    keys |= keys_in(running)
    assert open_stores().keys.get(list(keys)) == keys
    (directory / "key_encryption_key").write_text(old)
    with pytest.raises(EpochKeyUnusable):
        open_stores().keys.check()


def test_an_operators_own_key_is_replaced_by_configuration(
    tmp_path: Path, database_url: str, key_database_url: str
) -> None:
    def opened(**keys: object) -> tuple[Stores, Settings]:
        settings = settings_in(tmp_path / "data", **keys)
        return Stores.open(database_url, key_database_url, load_secrets(settings)), settings

    stores, settings = opened(key_encryption_key=OLD)
    keys = keys_in(stores)
    rotate_epochs(stores, settings, now=True)
    keys |= keys_in(stores)
    stores.close()

    for replaced in (opened(key_encryption_key=NEW),):
        with pytest.raises(EpochKeyUnusable, match="previous_key_encryption_keys"):
            replaced[0].keys.check()
        replaced[0].close()
    both, settings = opened(key_encryption_key=NEW, previous_key_encryption_keys=[OLD])
    assert both.keys.get(list(keys)) == keys
    assert rotate_kek(both, settings).rewrapped == 2
    assert rotate_kek(both, settings).rewrapped == 0
    both.close()
    new, _ = opened(key_encryption_key=NEW)
    assert new.keys.get(list(keys)) == keys
    new.keys.check()
    new.close()


@pytest.mark.parametrize("at", range(1, 12))
def test_a_replacement_that_dies_anywhere_loses_no_key(
    open_stores: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    class Died(Exception):  # noqa: N818 - says what happened
        pass

    stores = open_stores()
    keys = keys_in(stores)
    passed: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("link", "fsync", "pwrite", "open"):
            call = getattr(os, name)

            def within(*given: object, call: Callable[..., object] = call, name: str = name, **more: object) -> object:
                passed.append(name)
                if len(passed) == at:
                    raise Died
                return call(*given, **more)

            patch.setattr(os, name, within)
        try:
            rotate_kek(stores, settings)
            died = False
        except Died:
            died = True
    assert died, "every place is one to die at"

    assert open_stores().keys.get(list(keys)) == keys
    rotate_kek(open_stores(), settings)
    assert open_stores().keys.get(list(keys)) == keys
    directory = settings.service.data_directory / "keys"
    assert not (directory / generated_kek.PREVIOUS).exists()


def test_two_rotations_do_not_meet(open_stores: Open, stores: Stores, settings: Settings) -> None:
    keys_in(stores)
    with open_stores().keys.epochs.one_at_a_time(), pytest.raises(WrongState):
        rotate_kek(stores, settings)
