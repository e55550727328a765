"""Read the encryption epochs for an operator: which keys exist, and which data keys are lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.audit.canonical_json import JsonValue
from service.domain.encryption.epochs import EncryptionEpoch, EpochState, is_due_for_rotation
from service.settings import Settings
from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable
from service.store.encryption.key_store import WITHOUT_EPOCH
from service.store.stores import Stores

_MOST_SHOWN = 100
_LATE = 2  # epochs


@dataclass(frozen=True)
class ShownEpoch:
    """One epoch; `key` is `there`, `missing`, `unusable` or `-` where none is expected."""

    id: str
    state: str
    created_at: datetime
    retired_at: datetime | None
    emptied_at: datetime | None
    ended_at: datetime | None
    data_keys: int
    key: str

    def plain(self) -> Mapping[str, JsonValue]:
        """Return the epoch for JSON, with instants as text."""
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class EncryptionStatus:
    """The state of all epochs and keys at one time.

    `lost` names up to 100 owners of data keys that can't be unwrapped; `troubles` are sentences.
    """

    epochs: tuple[ShownEpoch, ...]
    without_epoch: int
    lost: tuple[str, ...]
    troubles: tuple[str, ...]

    @property
    def is_in_order(self) -> bool:
        """False if a human must act."""
        return not self.troubles and not self.lost

    def plain(self) -> Mapping[str, JsonValue]:
        """Return the status for JSON, with instants as text."""
        return {
            "epochs": [each.plain() for each in self.epochs],
            "without_epoch": self.without_epoch,
            "lost": self.lost,
            "troubles": self.troubles,
        }


def read_encryption_status(stores: Stores, settings: Settings) -> EncryptionStatus:
    """Read the register, the data keys and every epoch key. Changes nothing."""
    register = stores.keys.epochs
    epochs, counts, now = register.all(), register.keys_by_epoch(), register.now()
    shown, troubles = [], []
    for epoch in epochs:
        state, trouble = _key_of(stores, epoch)
        troubles += trouble
        shown.append(
            ShownEpoch(
                id=str(epoch.id),
                state=epoch.state.value,
                created_at=epoch.created_at,
                retired_at=epoch.retired_at,
                emptied_at=epoch.emptied_at,
                ended_at=epoch.ended_at,
                data_keys=counts.get(str(epoch.id), 0),
                key=state,
            )
        )
    current = next((epoch for epoch in epochs if epoch.state is EpochState.CURRENT), None)
    if is_due_for_rotation(current, every=timedelta(seconds=settings.keys.epoch_seconds * _LATE), now=now):
        troubles.append("the current epoch is older than two times keys.epoch_seconds: does the scheduler run?")
    troubles += [
        f"epoch {unknown}: a key is there that this key store doesn't know; another installation's, or of a restored"
        " backup: `expunge encryption adopt-epochs`"
        for unknown in register.unknown()
    ]
    return EncryptionStatus(
        tuple(shown), counts.get(WITHOUT_EPOCH, 0), register.lost_owners(_MOST_SHOWN), tuple(troubles)
    )


def _key_of(stores: Stores, epoch: EncryptionEpoch) -> tuple[str, list[str]]:
    if not epoch.has_key:
        return "-", []
    try:
        stores.keys.check_epoch(epoch.id)
    except EpochKeyMissing as error:
        return "missing", [] if epoch.emptied_at else [str(error)]
    except EpochKeyUnusable as error:
        return "unusable", [str(error)]
    return "there", []
