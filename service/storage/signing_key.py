"""The log's Ed25519 key in the keys directory: made on first use, readable by us alone, its public half beside it.

Decides where the key lives and when it may be trusted to be only ours. `audit.key` (PKCS#8 PEM, 0600) never leaves the
directory; `audit.pub` (a C2SP verifier key in one line) is what auditors get, by a way that isn't the export.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.signed_note import SigningKey

KEY_FILE = "audit.key"
PUBLIC_KEY_FILE = "audit.pub"


class SigningKeyUnusable(Exception):  # noqa: N818 - says what is true of the key
    """The key file can't be trusted or read, or its public half says something else. Says which, never the content."""


def load_signing_key(directory: Path, origin: str) -> SigningKey:
    """The key of the log named `origin`, made now if there is none. Raises SigningKeyUnusable.

    Two processes that come at once get the same key.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / KEY_FILE
    if not path.exists():
        _create(path, _new_key_pem(), 0o600)
    key = SigningKey(origin, _read(path))
    public = directory / PUBLIC_KEY_FILE
    line = f"{key.trusted}\n".encode()
    if not public.exists():
        _create(public, line, 0o644)
    if public.read_bytes() != line:
        raise SigningKeyUnusable(f"{PUBLIC_KEY_FILE} isn't the public half of {KEY_FILE} under this origin")
    return key


def _new_key_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> Ed25519PrivateKey:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SigningKeyUnusable(f"{KEY_FILE} is open to others: its mode must be 0600")
        if status.st_uid != os.geteuid():
            raise SigningKeyUnusable(f"{KEY_FILE} belongs to another user")
        content = file.read()
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyUnusable(f"{KEY_FILE} isn't a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyUnusable(f"{KEY_FILE} isn't an Ed25519 key")
    return key


def _create(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that is either whole and on disk, or not there; leaves one that another process made first."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        Path(draft).unlink()
