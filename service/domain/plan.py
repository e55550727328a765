"""What a plan is and how it is hashed: over pseudonyms, so that the hash may stand in the audit log.

Decides the canonical form of a plan. Who is in it and whether it needs approval are decided elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from service.domain.canonical_json import encode_canonical


@dataclass(frozen=True)
class PlannedSystem:
    """One step of the plan: its system, the connector that works there, keyed hashes of its frozen record ids."""

    system: str
    connector: str
    record_hashes: tuple[bytes, ...]


def plan_hash(subject: str, version: int, identifier_hashes: Iterable[bytes], systems: Iterable[PlannedSystem]) -> str:
    """SHA-256 of the plan's canonical form, in hex; the same for the same content in any order."""
    form = {
        "subject": subject,
        "version": version,
        "identifiers": sorted({h.hex() for h in identifier_hashes}),
        "systems": [
            {"system": s.system, "connector": s.connector, "records": sorted({h.hex() for h in s.record_hashes})}
            for s in sorted(systems, key=lambda s: s.system)
        ],
    }
    return hashlib.sha256(encode_canonical(form)).hexdigest()  # type: ignore[arg-type]  # lists of str are JSON values
