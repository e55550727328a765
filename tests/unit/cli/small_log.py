"""A small signed log, its export and its key, for verify_audit.py."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.cli.audit.verify_audit import Key, verify_certificate, verify_export
from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.entry import AuditEntry
from service.domain.audit.merkle import GrowingTree, Node, assemble, leaf_hash, plan_inclusion, root_of
from service.domain.audit.proof_bundle import ProvenEntry, seal_certificate
from service.domain.audit.signed_note import SigningKey, sign_checkpoint

ORIGIN = "expunge.example/log"


SUBJECT = "9f86d081884c7d659a2feaa0c55ad015"


AT = datetime(2026, 11, 22, 11, 30, tzinfo=UTC)


def signing_key(seed: bytes = b"k", name: str = ORIGIN) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest()))


SIGNER = signing_key()


TRUSTED = Key(str(SIGNER.trusted))


def entry_of(object_id: str, version: int, previous: str | None, subject: str | None = SUBJECT) -> AuditEntry:
    return AuditEntry(
        "request_in_progress", "request", object_id, version, previous, AT, "worker", subject, {"reason": "r"}
    )


def small_log() -> list[bytes]:
    """Five entries of two objects, interleaved."""
    first, other = "6f1c2a34-0b5d-4c1e-9a77-3d1f5b2c8e90", "0a1b2c3d-0b5d-4c1e-9a77-3d1f5b2c8e91"
    a1 = entry_of(first, 1, None)
    b1 = entry_of(other, 1, None)
    a2 = entry_of(first, 2, a1.digest())
    a3 = entry_of(first, 3, a2.digest())
    b2 = entry_of(other, 2, b1.digest())
    return [each.encode() for each in (a1, b1, a2, a3, b2)]


def export_of(
    entries: Sequence[bytes], signer: SigningKey = SIGNER, note: str | None = None, header: dict[str, Any] | None = None
) -> bytes:
    """An export as format 1 describes it; its checkpoint is signed over whatever the entries are."""
    header = {"format": "expunge-audit-export/1", "origin": ORIGIN, "size": len(entries)} | (header or {})
    note = note or sign_checkpoint(signer, len(entries), root_of(map(leaf_hash, entries)))
    lines = [b'{"entry":%b,"index":%d}' % (entry, index) for index, entry in enumerate(entries)]
    return b"".join(line + b"\n" for line in (encode_canonical(header), *lines, encode_canonical({"checkpoint": note})))


EXPORT = export_of(small_log())


def verdict(content: bytes, key: Key = TRUSTED) -> str:
    return verify_export(io.BytesIO(content), key)


def with_members(raw: bytes, **changes: Any) -> bytes:
    return encode_canonical(json.loads(raw) | changes)


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


LOG = small_log()


def certificate(entries: Sequence[bytes] = tuple(LOG), chosen: Sequence[int] = range(5), **claims: Any) -> bytes:
    tree, nodes = GrowingTree.empty(), dict[Node, bytes]()
    for raw in entries:
        nodes.update(tree.append(leaf_hash(raw)))
    proven = [
        ProvenEntry(index, entries[index], assemble(plan_inclusion(index, len(entries)), nodes)) for index in chosen
    ]
    note = sign_checkpoint(SIGNER, len(entries), tree.root())
    return seal_certificate({"subject": SUBJECT, "outcome": "erased", **claims}, proven, note, SIGNER)


def certified(content: bytes, key: Key = TRUSTED) -> str:
    return verify_certificate(io.BytesIO(content), key)


def resigned(document: dict[str, Any], signer: SigningKey = SIGNER) -> bytes:
    body = {name: value for name, value in document.items() if name != "signature"}
    signature = signer.sign(b"expunge-certificate/1\n" + encode_canonical(body))
    return encode_canonical(body | {"signature": base64.b64encode(signature).decode()}) + b"\n"
