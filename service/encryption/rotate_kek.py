"""Replace the key-encryption key: wrap every epoch key under the newest one.

Afterwards the old one isn't needed. Data keys don't change, because they are wrapped under epoch keys. An operator's
own key is replaced in the configuration (the old one among `keys.previous_key_encryption_keys`); a generated one is
replaced here, while the service runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.errors import WrongState
from service.settings import Settings
from service.store.encryption import generated_kek
from service.store.encryption.key_store import WITHOUT_EPOCH
from service.store.encryption.secrets import keys_directory
from service.store.stores import Stores


@dataclass(frozen=True)
class KekRotation:
    """How many epoch keys were wrapped anew, and whether the old key was destroyed here."""

    rewrapped: int
    old_key_destroyed: bool


def rotate_kek(stores: Stores, settings: Settings) -> KekRotation:
    """Wrap every epoch key under the newest key-encryption key. May be repeated after a process that died.

    Raises EpochKeyUnusable; WrongState while another process rotates, or data keys wait to be wrapped under an epoch.
    """
    epochs = stores.keys.epochs
    with epochs.one_at_a_time() as ours:
        if not ours:
            raise WrongState("another process is rotating now: nothing was done, try again")
        stores.keys.check()
        if epochs.keys_by_epoch().get(WITHOUT_EPOCH):
            raise WrongState("data keys wait to be wrapped under an epoch: run `expunge encryption rotate-epoch` first")
        generated = settings.keys.key_encryption_key is None
        directory = keys_directory(settings)
        if generated:
            generated_kek.begin_replacing(directory)

        def finish() -> None:
            if generated:
                generated_kek.end_replacing(directory)

        return KekRotation(epochs.rewrap_epoch_keys(finish), generated)
