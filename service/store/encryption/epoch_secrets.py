"""The interface of a place for epoch keys outside the database: a directory of files, or a KMS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID


class EpochKeyUnusable(Exception):  # noqa: N818 - says what is true
    """An epoch key can't be read, made or destroyed. Says which epoch and why, never any key."""


class EpochKeyMissing(EpochKeyUnusable):
    """The place answered, and has no key of that epoch."""


class EpochSecrets(Protocol):
    """Keeps one 32-byte key for each epoch. Every call may raise EpochKeyUnusable."""

    def create(self, epoch_id: UUID) -> None:
        """Make a new key, durable before this returns. Never replaces one."""

    def read(self, epoch_id: UUID) -> bytes:
        """The epoch's key. Raises EpochKeyMissing."""

    def destroy(self, epoch_id: UUID) -> None:
        """Destroy the key so that no one can read it again. An epoch without a key is no error."""

    def known(self) -> Sequence[UUID]:
        """All epochs that have a key here."""

    def rewrap(self, epoch_id: UUID) -> bool:
        """Wrap the key under the newest key-encryption key; False if there was nothing to do."""

    def tidy(self) -> None:
        """Destroy files of an interrupted write. Only one process may call this at a time."""
