"""Publish heads to a C2SP witness, which cosigns a newer head only with a consistency proof.

A witness remembers one head per log, and can be asked for it only by submitting a head. So comparing submits the newest
one: if it follows the witness's head, the witness cosigns it, which is the anchoring. 409 with another size names the
size of the witness's head; 422, or 409 at the same size, means that our history isn't the one that it saw. No operator
of ours can overrule a witness: after a store was restored, it disagrees until its own operator resets the log.

Source: c2sp.org/tlog-witness, c2sp.org/tlog-cosignature (read 2026-11-22). Ed25519 cosignatures (cosignature/v1) only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from connectors.base.outbound.client import open_client
from connectors.base.outbound.services import open_service_client
from connectors.base.outbound.transport import BODY_LIMIT
from service.domain.audit.anchor import AnchorUnreachable, Conflict, Disagreement, SignedHead, SignedLog
from service.domain.audit.signed_note import NoteRefused, is_key_name, strict_base64

COSIGNATURE_V1 = b"\x04"
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n")
_LONGEST_ANSWER_BYTES = 64 * 1024
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class WitnessKey:
    """A witness's public key, `name+id+base64` with the algorithm byte of cosignature/v1."""

    name: str
    public_bytes: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of its cosignature lines."""
        return hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE_V1 + self.public_bytes).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Reads a verifier key. Raises NoteRefused."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        decoded = strict_base64(encoded)
        key = cls(name, decoded[1:])
        if decoded[:1] != COSIGNATURE_V1 or len(decoded) != 33 or not is_key_name(name) or key.key_id.hex() != key_id:
            raise NoteRefused("not a witness's Ed25519 verifier key")
        return key

    def has_cosigned(self, text: str, line: str) -> bool:
        """Whether one signature line is this witness's timestamped cosignature over a checkpoint's text."""
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or parts[1] != self.name:
            return False
        try:
            decoded = strict_base64(parts[2])
        except NoteRefused:
            return False
        if decoded[:4] != self.key_id or len(decoded) != 4 + 8 + 64:
            return False
        at = int.from_bytes(decoded[4:12], "big")
        message = f"cosignature/v1\ntime {at}\n{text}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.public_bytes).verify(decoded[12:], message)
        except InvalidSignature:
            return False
        return True


class WitnessAnchor:
    """A witness at a submission prefix, with the key by which its cosignatures are believed."""

    def __init__(self, name: str, url: str, key: WitnessKey, *, transport: httpx.BaseTransport | None = None) -> None:
        self._name = name
        self._url = url.rstrip("/") + "/add-checkpoint"
        self._key = key
        # Its answers are signed, so that it may be called without TLS.
        self._client = (
            open_service_client(url, _PATIENCE_SECONDS, allow_plain_http=True)
            if transport is None
            else open_client(transport)
        )

    @property
    def name(self) -> str:
        """The anchor's configured name."""
        return self._name

    def compare(self, log: SignedLog) -> Conflict | None:
        """Have the newest head cosigned; the conflict if the witness refuses it. Raises AnchorUnreachable."""
        head = log.newest()
        while head is not None:
            conflict = self._submit(head, log)
            newer = log.newest()
            # Another process may have signed and published while we spoke: only the newest head can be behind.
            if conflict is None or newer is None or newer.checkpoint.size <= head.checkpoint.size:
                return conflict
            head = newer
        # A log without a head has nothing to submit; a store that lost its whole log has no key's history either.
        return None

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Have a head cosigned.

        Raises AnchorUnreachable, also when the witness refuses: it stored nothing then.
        """
        if self._submit(head, log) is not None:
            raise AnchorUnreachable("witness_refused")

    def _submit(self, head: SignedHead, log: SignedLog) -> Conflict | None:
        size, published = head.checkpoint.size, log.published(self._name)
        old = min(published, size)
        answer = self._post(head, log, old)
        if answer.status_code == 409 and (known := _size_in(answer)) is not None and known != old:
            if known > size:
                return Conflict(self._name, Disagreement.STORE_BEHIND, f"anchor {known}, store {size}")
            if known < published:
                return Conflict(self._name, Disagreement.ANCHOR_CUT, f"anchor {known}, store {published}")
            old = known
            answer = self._post(head, log, old)
        if answer.status_code == 422 or (answer.status_code == 409 and old == size):
            return Conflict(self._name, Disagreement.OTHER_ROOT, f"size {old}")
        if answer.status_code != 200:
            raise AnchorUnreachable(f"witness_status_{answer.status_code}")
        if not any(self._key.has_cosigned(head.checkpoint.text(), line) for line in answer.text.split("\n")[:-1]):
            raise AnchorUnreachable("witness_cosignature_missing")
        return None

    def _post(self, head: SignedHead, log: SignedLog, old: int) -> httpx.Response:
        proof = log.consistency(old, head.checkpoint.size)
        lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", head.note]
        try:
            with self._client.stream(
                "POST", self._url, content="\n".join(lines).encode(), extensions={BODY_LIMIT: _LONGEST_ANSWER_BYTES}
            ) as answer:
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _LONGEST_ANSWER_BYTES:
                        raise AnchorUnreachable("witness_answer_too_long")
                return httpx.Response(answer.status_code, content=body)
        except httpx.HTTPError as error:
            raise AnchorUnreachable(f"witness_{type(error).__name__}".lower()) from None


def _size_in(answer: httpx.Response) -> int | None:
    found = _SIZE.fullmatch(answer.text)
    return int(found[1]) if found else None
