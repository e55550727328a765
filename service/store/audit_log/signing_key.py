"""Make and read the log's Ed25519 key in the keys directory, and its public half beside it.

The key is made on first use, and readable by our user only. Decides where the key is kept and when it is trusted to be
only ours. `audit.key` (PKCS#8 PEM, 0600) never leaves the directory; it may instead hold the name of a key of a key
service (key_services), `service <id> <public half in base64>`. `audit.pub` (a C2SP verifier key in one line) is given
to auditors, by another way than the export. `audit-retired.pub` has a line `<size> <verifier key>` for each key that
was rotated away: its signatures count up to that size of the log. A rotation prepares `audit.key.next` and takes it by
one rename; the next load completes a rotation that was interrupted. `audit-handover-<size>.txt` are the notes of
rotations, in their order by name.
"""

from __future__ import annotations

import base64
import os
import tempfile
from functools import partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from service.domain.audit.signed_note import NoteRefused, RetiredKey, Signer, SigningKey, TrustedKey
from service.store.encryption.private_files import NotPrivate, read_private
from service.store.key_services.interface import KeyService, ServiceSigner
from service.store.key_services.interface import SigningKeyUnusable as SigningKeyUnusable

KEY_FILE = "audit.key"
NEXT_KEY_FILE = "audit.key.next"
PUBLIC_KEY_FILE = "audit.pub"
RETIRED_KEYS_FILE = "audit-retired.pub"


HANDOVER_FILES = "audit-handover-*.txt"
_SERVICE = b"service "


def load_signing_key(directory: Path, origin: str, service: KeyService | None = None) -> SigningKey:
    """Return the key of the log named `origin`, made now if there is none (`service`'s newest).

    Two processes that start together get the same key. An existing key counts, whatever the service's newest key is.
    Raises SigningKeyUnusable.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / KEY_FILE
    if not os.path.lexists(path):
        if (directory / PUBLIC_KEY_FILE).exists():
            # A new key couldn't continue the log, and would hide that the old one is gone.
            raise SigningKeyUnusable(f"{KEY_FILE} is missing, and {PUBLIC_KEY_FILE} says that there was one")
        _create(path, _new_key_pem() if service is None else _reference(service, service.newest()), 0o600)
    retired = _retired_keys(directory)
    again = partial(load_signing_key, directory, origin, service)
    key = SigningKey(origin, _read(path, service), retired=retired, reload=again)
    public = directory / PUBLIC_KEY_FILE
    line = f"{key.trusted}\n".encode()
    if not public.exists():
        _create(public, line, 0o644)
    found = public.read_bytes()
    if found in {f"{each.key}\n".encode() for each in retired if each.key != key.trusted}:
        # A rotation ended between taking the key and saying so.
        _replace(public, line, 0o644)
    elif found != line:
        raise SigningKeyUnusable(f"{PUBLIC_KEY_FILE} isn't the public half of {KEY_FILE} under this origin")
    return key


def prepare_next_key(directory: Path, origin: str, service: KeyService | None = None) -> SigningKey:
    """Return the key that a rotation will take; one that an interrupted rotation made is used.

    Raises SigningKeyUnusable.
    """
    path = directory / NEXT_KEY_FILE
    if not path.exists():
        _create(path, _new_key_pem() if service is None else _reference(service, service.create_next()), 0o600)
    return SigningKey(origin, _read(path, service))


def take_next_key(directory: Path, old: SigningKey, *, upto_size: int, service: KeyService | None = None) -> SigningKey:
    """Retire `old` at this size of the log and make the prepared key the log's.

    The caller holds the sequencer's lock.
    """
    lines = "".join(f"{each.upto_size} {each.key}\n" for each in old.trusted.retired)
    _replace(directory / RETIRED_KEYS_FILE, f"{lines}{upto_size} {old.trusted}\n".encode(), 0o644)
    (directory / NEXT_KEY_FILE).replace(directory / KEY_FILE)
    _sync(directory)
    return load_signing_key(directory, old.trusted.name, service)


def keep_handover(directory: Path, handover: str, *, upto_size: int) -> Path:
    """Put a rotation's note beside the keys. Returns where."""
    path = directory / HANDOVER_FILES.replace("*", f"{upto_size:012d}")
    _replace(path, handover.encode(), 0o644)
    return path


def handover_notes(directory: Path) -> list[Path]:
    """The notes of all rotations, oldest first."""
    return sorted(directory.glob(HANDOVER_FILES))


def _retired_keys(directory: Path) -> tuple[RetiredKey, ...]:
    path = directory / RETIRED_KEYS_FILE
    if not path.exists():
        return ()
    try:
        pairs = [line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        return tuple(RetiredKey(TrustedKey.parse(key), int(size)) for size, _, key in pairs)
    except (NoteRefused, ValueError):
        raise SigningKeyUnusable(f"{RETIRED_KEYS_FILE} can't be read") from None


def _new_key_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _reference(service: KeyService, key_id: str) -> bytes:
    public = base64.b64encode(service.public_key(key_id).public_bytes_raw())
    return _SERVICE + key_id.encode() + b" " + public + b"\n"


def _read(path: Path, service: KeyService | None) -> Signer:
    try:
        content = read_private(path)
    except NotPrivate as refused:
        raise SigningKeyUnusable(str(refused)) from None
    except FileNotFoundError:
        raise SigningKeyUnusable(f"{path.name} is missing") from None
    if content.startswith(_SERVICE):
        return _referred_to(content, service)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyUnusable(f"{KEY_FILE} isn't a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyUnusable(f"{KEY_FILE} isn't an Ed25519 key")
    return key


def _referred_to(content: bytes, service: KeyService | None) -> Signer:
    if service is None:
        raise SigningKeyUnusable(f"{KEY_FILE} names a key of a key service, and [keys] configures none")
    try:
        key_id, public = content.removeprefix(_SERVICE).decode().split()
        return ServiceSigner(
            service, key_id, Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        )
    except ValueError:
        raise SigningKeyUnusable(f"{KEY_FILE} can't be read") from None


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is either complete and on disk, or not there.

    Leaves a file that another process made first.
    """
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
        _sync(path.parent)
    finally:
        Path(draft).unlink()


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Writes a file over another one: at any moment either the old or the new one is there, whole."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
