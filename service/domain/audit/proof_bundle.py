"""The file in which a certificate travels: what is claimed, the log entries behind it, and the proof of each.

Decides the envelope and what its signature covers, not what a certificate claims. The format, which the offline
verifier (cli/verify_audit.py) reads on its own:

    {"certificate": {"subject": <pseudonym>, ...},            what is claimed
     "checkpoint": <signed note>,                             the head of the log that the proofs lead to
     "entries": [{"entry": {...}, "index": n, "proof": [<base64>, ...]}, ...],   all of this request's, by index
     "format": "expunge-certificate/1",
     "signature": <base64>}

in canonical JSON with one newline at the end. The Ed25519 signature is over "expunge-certificate/1", a newline, and the
canonical JSON of everything but "signature": entries can't be left out of a certificate without breaking it. The words
in front keep such a signature from ever being read as one over a checkpoint, whose second line is a number.
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
    """The signed file. `certificate["subject"]` must be the subject of every entry. Raises ValueError otherwise."""
    decoded = [decode_entry(entry.raw) for entry in entries]
    if not decoded or {entry["subject"] for entry in decoded} != {certificate.get("subject")}:
        raise ValueError("a certificate is about one subject and holds that subject's entries")
    document: dict[str, JsonValue] = {
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
