"""The file of a certificate: the claims, the log entries behind them, and the proof of each entry.

Decides the envelope and the signed bytes, not the claims. The format, which the offline verifier
(cli/audit/verify_audit.py) reads with code of its own:

    {"certificate": {"subject": <pseudonym>, ...},            the claims
     "checkpoint": <signed note>,                             the head of the log that the proofs lead to
     "entries": [{"entry": {...}, "index": n, "proof": [<base64>, ...]}, ...],   all of this request's, by index
     "format": "expunge-certificate/1",
     "signature": <base64>}

in canonical JSON with one newline at the end. The Ed25519 signature is over "expunge-certificate/1", a newline, and the
canonical JSON of all members except "signature", so a certificate with an entry left out has a wrong signature. Because
of the first line, the signature can't be used as one over a checkpoint, whose second line is a number.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.domain.audit.canonical_json import JsonValue, encode_canonical
from service.domain.audit.entry import decode_entry
from service.domain.audit.signed_note import SigningKey

CERTIFICATE_FORMAT = "expunge-certificate/1"
ATTACHMENT = "certificate.json"
"""The name of a certificate's file inside its PDF."""


@dataclass(frozen=True)
class ProvenEntry:
    """An entry's bytes, its index in the log, and its inclusion proof for one checkpoint."""

    index: int
    raw: bytes
    proof: tuple[bytes, ...]


def seal_certificate(
    certificate: Mapping[str, JsonValue], entries: Sequence[ProvenEntry], checkpoint_note: str, key: SigningKey
) -> bytes:
    """Return the signed file. Raises ValueError unless `certificate["subject"]` is every entry's subject."""
    decoded = [decode_entry(entry.raw) for entry in entries]
    if not decoded or {entry["subject"] for entry in decoded} != {certificate.get("subject")}:
        raise ValueError("a certificate is about one subject and holds that subject's entries")
    document: dict[str, object] = {
        "certificate": certificate,
        "checkpoint": checkpoint_note,
        "entries": [
            {
                "entry": members,
                "index": entry.index,
                "proof": [base64.b64encode(step).decode() for step in entry.proof],
            }
            for entry, members in zip(entries, decoded, strict=True)
        ],
        "format": CERTIFICATE_FORMAT,
    }
    signed = CERTIFICATE_FORMAT.encode() + b"\n" + encode_canonical(document)
    document["signature"] = base64.b64encode(key.sign(signed)).decode()
    return encode_canonical(document) + b"\n"
