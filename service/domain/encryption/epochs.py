"""Encryption epochs: when the next one begins and when the key of an old one is destroyed.

An epoch is a span of time with one key, the epoch key, which is kept outside every database. Data keys are wrapped
under the key of the current epoch. Destroying an epoch key makes every copy of a data key that was wrapped under it
worthless, wherever a disk, a WAL file or a backup still holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class EpochState(StrEnum):
    """`current` wraps new data keys; `retired` only unwraps; `destroyed` and `lost` have no key any more.

    `lost`: the key disappeared while data keys were still wrapped under it, and a named operator accepted that.
    """

    CURRENT = "current"
    RETIRED = "retired"
    DESTROYED = "destroyed"
    LOST = "lost"


@dataclass(frozen=True)
class EncryptionEpoch:
    """One epoch as the key store records it. `emptied_at`: when no data key was wrapped under it any more."""

    id: UUID
    state: EpochState
    created_at: datetime
    retired_at: datetime | None = None
    emptied_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def has_key(self) -> bool:
        """Whether the epoch key must still exist outside the database."""
        return self.state in (EpochState.CURRENT, EpochState.RETIRED)


def is_due_for_rotation(current: EncryptionEpoch | None, *, every: timedelta, now: datetime) -> bool:
    """True if no epoch is current, or the current one is older than `every`."""
    return current is None or current.created_at + every <= now


def may_be_destroyed(epoch: EncryptionEpoch, *, kept: timedelta, now: datetime) -> bool:
    """True for a retired epoch whose last data key was re-wrapped at least `kept` ago.

    A backup of the key store that is younger than `kept` can therefore always be restored.
    """
    return epoch.state is EpochState.RETIRED and epoch.emptied_at is not None and epoch.emptied_at + kept <= now
