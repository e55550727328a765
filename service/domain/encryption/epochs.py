"""Encryption epochs: when the next one begins and when the key of an old one is destroyed.

An epoch is a span of time with one key, the epoch key, which is stored outside every database. The key store wraps
data keys under the key of the current epoch. Once an epoch key is destroyed, no copy of a data key that was wrapped
under it can be used, also not a copy on a disk, in a WAL file or in a backup.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class EpochState(StrEnum):
    """The state of an epoch.

    The key of `current` wraps new data keys; that of `retired` only unwraps; `destroyed` and `lost` have no key any
    more. `lost`: the key disappeared while data keys were still wrapped under it, and a named operator accepted that.
    """

    CURRENT = "current"
    RETIRED = "retired"
    DESTROYED = "destroyed"
    LOST = "lost"


@dataclass(frozen=True)
class EncryptionEpoch:
    """One epoch in the key store. `emptied_at`: since when no data key is wrapped under it."""

    id: UUID
    state: EpochState
    created_at: datetime
    retired_at: datetime | None = None
    emptied_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def has_key(self) -> bool:
        """Return whether the epoch key must still exist outside the database."""
        return self.state in (EpochState.CURRENT, EpochState.RETIRED)


def is_due_for_rotation(current: EncryptionEpoch | None, *, every: timedelta, now: datetime) -> bool:
    """Return whether a new epoch must begin: none is current, or the current one is as old as `every`."""
    return current is None or current.created_at + every <= now


def may_be_destroyed(epoch: EncryptionEpoch, *, kept: timedelta, now: datetime) -> bool:
    """Return True for a retired epoch whose last data key was re-wrapped at least `kept` ago.

    A backup of the key store that is younger than `kept` can therefore always be restored.
    """
    return epoch.state is EpochState.RETIRED and epoch.emptied_at is not None and epoch.emptied_at + kept <= now
