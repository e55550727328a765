"""C2SP signed notes and checkpoints: a text, an Ed25519 signature, and the name and id of the key.

Decides the exact bytes that are signed and the conditions of a valid signature. Doesn't decide when to sign
(audit.sequence) or where keys are stored (store.audit_log.signing_key). A checkpoint's text is three lines: origin,
tree size, base64 of the root; the key's name is the origin.
Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint (read 2026-11-22). The latter says logs "SHOULD" sign with
ML-DSA-44 and "MAY" with any note algorithm. Expunge signs with Ed25519, because every verifier supports it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.domain.audit.merkle import HASH_BYTES

ED25519 = b"\x01"
_MOST_SIGNATURES = 16


class NoteRefused(ValueError):  # noqa: N818 - says what happened to the note
    """A note, checkpoint or key is malformed, or the trusted key didn't sign it."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key with a name. `str()` of it is its verifier key, `name+id+base64`.

    `retired` are earlier signing keys of the same log; only notes that the log itself stored are opened with them.
    """

    name: str
    public_bytes: bytes
    retired: tuple[RetiredKey, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise NoteRefused("a key's name must not be empty nor hold spaces, control characters or '+'")
        if len(self.public_bytes) != 32:
            raise NoteRefused("an Ed25519 public key has 32 bytes")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public_bytes).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """Return SHA-256 of the 32 public bytes in hex, for two people to compare over the telephone."""
        return hashlib.sha256(self.public_bytes).hexdigest()

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public_bytes).decode()}"

    @classmethod
    def parse(cls, text: str) -> TrustedKey:
        """Read `name+id+base64`. Raises NoteRefused."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        decoded = strict_base64(encoded)
        if decoded[:1] != ED25519:
            raise NoteRefused("not an Ed25519 verifier key")
        key = cls(name, decoded[1:])
        if key.key_id.hex() != key_id:
            raise NoteRefused("the verifier key's id doesn't belong to its name and key")
        return key

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_bytes).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class RetiredKey:
    """A replaced signing key; its signatures are valid up to the log's size at the replacement."""

    key: TrustedKey
    upto_size: int


class Signer(Protocol):
    """The holder of the private key: cryptography's key object, or a service that never reveals the key."""

    def public_key(self) -> Ed25519PublicKey:
        """Return the public key."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the 64 bytes of a plain Ed25519 signature."""


class SigningKey:
    """The private key of a TrustedKey. Its repr shows the name and id only."""

    def __init__(
        self,
        name: str,
        signer: Signer,
        *,
        retired: tuple[RetiredKey, ...] = (),
        reload: Callable[[], SigningKey] | None = None,
    ) -> None:
        self._signer = signer
        self._reload = reload
        self.trusted = TrustedKey(name, signer.public_key().public_bytes_raw(), retired)

    def current(self) -> SigningKey:
        """Return the log's present key: another one if this was replaced.

        The sequencer calls it under its lock.
        """
        return self if self._reload is None else self._reload()

    def __repr__(self) -> str:
        return f"SigningKey({self.trusted.name!r}, id={self.trusted.key_id.hex()})"

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a plain Ed25519 signature.

        Callers prefix the message with a text that names its purpose.
        """
        return self._signer.sign(message)

    def sign_note(self, text: str) -> str:
        """Return the note: `text`, which must end in a newline, then a blank line and one signature line."""
        if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
            raise NoteRefused("a note's text ends in a newline and holds no other control character")
        signature = base64.b64encode(self.trusted.key_id + self.sign(text.encode())).decode()
        return f"{text}\n— {self.trusted.name} {signature}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: the number of leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a checkpoint's text. Raises NoteRefused.

        Extension lines are refused, because no auditor checks them.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteRefused("a checkpoint has three lines")
        origin, size, root = lines[:3]
        if not (size.isascii() and size.isdigit() and len(size) <= 19):
            raise NoteRefused("a checkpoint's size is a decimal number")
        checkpoint = cls(origin, int(size), strict_base64(root))
        if not origin or len(checkpoint.root) != HASH_BYTES or checkpoint.text() != text:
            raise NoteRefused("a checkpoint that isn't in its only spelling")
        return checkpoint


_HANDOVER = "expunge audit key handover"


def sign_handover(old: SigningKey, new: SigningKey, size: int) -> str:
    """Return a note, signed by both keys, which says that the new key signs from this size of the log on.

    An auditor that trusts the old key can so trust the new one.
    """
    text = f"{_HANDOVER}\n{old.trusted}\n{new.trusted}\n{size}\n"
    return old.sign_note(text) + new.sign_note(text).rpartition("\n\n")[2]


def open_handover(note: str, trusted: TrustedKey) -> RetiredKey:
    """Check a handover with the old key; return the new key, with the size up to which the old one signed.

    Raises NoteRefused.
    """
    lines = open_note(note, trusted).split("\n")
    if len(lines) != 5 or lines[0] != _HANDOVER or lines[1] != str(trusted) or not lines[3].isdecimal():
        raise NoteRefused("not a handover from the trusted key")
    new = TrustedKey.parse(lines[2])
    open_note(note, new)
    if new.name != trusted.name:
        raise NoteRefused("a handover to another log's key")
    return RetiredKey(new, int(lines[3]))


def sign_checkpoint(key: SigningKey, size: int, root: bytes) -> str:
    """Return the signed note of (size, root); the origin is the key's name, as tlog-checkpoint recommends."""
    return key.sign_note(Checkpoint(key.trusted.name, size, root).text())


def open_checkpoint(note: str, trusted: TrustedKey) -> Checkpoint:
    """Return the checkpoint of a note that `trusted` signed with its name as origin. Raises NoteRefused."""
    checkpoint = Checkpoint.parse(open_note(note, trusted))
    if checkpoint.origin != trusted.name:
        raise NoteRefused("the checkpoint is another log's")
    return checkpoint


def open_logged_checkpoint(note: str, trusted: TrustedKey) -> Checkpoint:
    """Return the checkpoint of a note that the log stored or published itself.

    The log's present key or a retired one must have signed it. Raises NoteRefused, for a retired key also if the
    checkpoint is larger than the log at that key's replacement.
    """
    try:
        return open_checkpoint(note, trusted)
    except NoteRefused as refused:
        for retired in trusted.retired:
            if _signed_while_it_was_the_logs(note, retired):
                return open_checkpoint(note, retired.key)
        raise refused from None


def is_signed_by(note: str, trusted: TrustedKey) -> bool:
    """Return whether the note is a checkpoint that this key signed."""
    try:
        open_checkpoint(note, trusted)
    except NoteRefused:
        return False
    return True


def _signed_while_it_was_the_logs(note: str, retired: RetiredKey) -> bool:
    try:
        return open_checkpoint(note, retired.key).size <= retired.upto_size
    except NoteRefused:
        return False


def open_note(note: str, trusted: TrustedKey) -> str:
    """Return the text of a note that `trusted` signed. Raises NoteRefused.

    Signature lines of unknown keys (witnesses) are ignored, as the format demands. One wrong signature of the trusted
    key makes the whole note refused.
    """
    text, blank, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not blank or lines[-1] or not 1 <= len(lines) - 1 <= _MOST_SIGNATURES:
        raise NoteRefused("a note is a text, a blank line and signature lines")
    if any(ord(char) < 0x20 and char != "\n" for char in note):
        raise NoteRefused("a note holds no control character but the newline")
    signed = False
    for line in lines[:-1]:
        name, decoded = _signature_line(line)
        if (name, decoded[:4]) != (trusted.name, trusted.key_id):
            continue
        if not trusted.has_signed(f"{text}\n".encode(), decoded[4:]):
            raise NoteRefused("the trusted key's signature is wrong")
        signed = True
    if not signed:
        raise NoteRefused("not signed by the trusted key")
    return f"{text}\n"


def _signature_line(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not is_key_name(parts[1]):
        raise NoteRefused("a malformed signature line")
    decoded = strict_base64(parts[2])
    if len(decoded) < 5:
        raise NoteRefused("a signature that is too short")
    return parts[1], decoded


def is_key_name(name: str) -> bool:
    return bool(name) and not any(char.isspace() or char == "+" or ord(char) < 0x20 for char in name)


def strict_base64(text: str) -> bytes:
    """Return the bytes of standard base64. Raises NoteRefused for any other spelling of the same bytes."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused("not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise NoteRefused("base64 in another spelling than its own")
    return decoded
