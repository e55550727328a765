"""Keep epoch keys as files: one for each epoch, wrapped under the key-encryption key.

A key is destroyed by overwriting its file. A file is JSON: {"epoch": id, "wrapped_by": id of the key-encryption key,
"wrapped": base64}. Mode 0600 in a 0700 directory. Overwriting destroys the bytes on a disk that writes in place;
docs/security.md names the disks that don't.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable
from service.store.encryption.key_encryption_keys import KeyEncryptionKeys, UnknownKeyEncryptionKey
from service.store.encryption.private_files import NotPrivate, read_private
from service.store.encryption.sealing import SealBroken

_SUFFIX = ".epoch"
_LEFTOVERS = (".draft", ".replaced")
_KEY_BYTES = 32


class EpochFiles:
    """The directory of the epoch keys. Makes the directory with the first key."""

    def __init__(self, directory: Path, key_encryption_keys: KeyEncryptionKeys) -> None:
        self.directory = directory
        self._keys = key_encryption_keys

    def create(self, epoch_id: UUID) -> None:
        """A random key, wrapped, on the disk (file and directory synced) before this returns."""
        self._keys.read_again()
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = self._write_draft(epoch_id, os.urandom(_KEY_BYTES))
            os.link(draft, self._path(epoch_id))
            draft.unlink()
            sync_directory(self.directory)
        except OSError as error:
            raise _unusable(epoch_id, error) from None

    def read(self, epoch_id: UUID) -> bytes:
        """The key. Raises EpochKeyMissing, or EpochKeyUnusable with the reason."""
        wrapped_by, wrapped = self._parse(epoch_id)
        try:
            return self._keys.unwrap(wrapped_by, wrapped, _context(epoch_id))
        except UnknownKeyEncryptionKey:
            raise EpochKeyUnusable(
                f"epoch {epoch_id}: wrapped under {wrapped_by}, which is neither keys.key_encryption_key"
                " nor in keys.previous_key_encryption_keys"
            ) from None
        except SealBroken:
            raise EpochKeyUnusable(f"epoch {epoch_id}: the file was changed") from None

    def wrapped_by(self, epoch_id: UUID) -> str:
        """Return the id of the key-encryption key that wraps this epoch's key.

        Raises EpochKeyMissing, EpochKeyUnusable.
        """
        return self._parse(epoch_id)[0]

    def rewrap(self, epoch_id: UUID) -> bool:
        """Wrap the key under the newest key-encryption key; False if it is already.

        The old bytes are overwritten.
        """
        self._keys.read_again()
        if self.wrapped_by(epoch_id) == self._keys.newest:
            return False
        key, path = self.read(epoch_id), self._path(epoch_id)
        replaced = path.with_suffix(".replaced")
        try:
            draft = self._write_draft(epoch_id, key)
            os.link(path, replaced)
            draft.replace(path)
            sync_directory(self.directory)
            overwrite(replaced)
        except OSError as error:
            raise _unusable(epoch_id, error) from None
        return True

    def destroy(self, epoch_id: UUID) -> None:
        """Overwrite the file with random bytes, sync, unlink, sync the directory."""
        try:
            overwrite(self._path(epoch_id))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unusable(epoch_id, error) from None

    def known(self) -> Sequence[UUID]:
        """The epochs of all files in the directory."""
        found = []
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            try:
                found.append(UUID(path.stem))
            except ValueError:
                raise EpochKeyUnusable(f"{path.name} in the directory of epoch keys is not a file of ours") from None
        return found

    def tidy(self) -> None:
        """Overwrite drafts and replaced files of a process that died between two steps."""
        for suffix in _LEFTOVERS:
            for path in self.directory.glob(f"*{suffix}"):
                if path.stat().st_nlink > 1:
                    path.unlink()  # The same bytes are an epoch's file: overwriting them would destroy its key.
                else:
                    overwrite(path)

    def _path(self, epoch_id: UUID) -> Path:
        return self.directory / f"{epoch_id}{_SUFFIX}"

    def _write_draft(self, epoch_id: UUID, key: bytes) -> Path:
        wrapped_by, wrapped = self._keys.wrap(key, _context(epoch_id))
        document = {
            "epoch": str(epoch_id),
            "wrapped_by": wrapped_by,
            "wrapped": base64.b64encode(wrapped).decode("ascii"),
        }
        draft = self._path(epoch_id).with_suffix(".draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(json.dumps(document) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _parse(self, epoch_id: UUID) -> tuple[str, bytes]:
        try:
            document = json.loads(read_private(self._path(epoch_id)).decode("ascii"))
            return str(document["wrapped_by"]), base64.b64decode(document["wrapped"], validate=True)
        except FileNotFoundError:
            raise EpochKeyMissing(f"epoch {epoch_id}: its key is not in {self.directory}") from None
        except NotPrivate as refused:
            raise EpochKeyUnusable(f"epoch {epoch_id}: {refused}") from None
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise EpochKeyUnusable(f"epoch {epoch_id}: the file is not one of ours") from None


def overwrite(path: Path) -> None:
    """Overwrite a file in place with random bytes, sync it, unlink it, sync its directory. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        length = os.fstat(handle).st_size
        os.pwrite(handle, os.urandom(length), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
    path.unlink()
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the directory's entries on the disk before this returns."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _context(epoch_id: UUID) -> str:
    return f"epoch-key/{epoch_id}"


def _unusable(epoch_id: UUID, error: OSError) -> EpochKeyUnusable:
    return EpochKeyUnusable(f"epoch {epoch_id}: {error.strerror}")
