"""What a plan is and how it is hashed: over pseudonyms, so that the hash may stand in the audit log.

Decides the canonical form of a plan. Who is in it and whether it needs approval are decided elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from service.domain.audit.canonical_json import JsonValue, encode_canonical


@dataclass(frozen=True)
class PlannedSystem:
    """One step of the plan: its system, the connector that works there, keyed hashes of its frozen record ids."""

    system: str
    connector: str
    record_hashes: tuple[bytes, ...]


def plan_hash(subject: str, version: int, identifier_hashes: Iterable[bytes], systems: Iterable[PlannedSystem]) -> str:
    """SHA-256 of the plan's canonical form, in hex; the same for the same content in any order."""
    identifiers = sorted({h.hex() for h in identifier_hashes})
    planned = [_system_form(s) for s in sorted(systems, key=lambda s: s.system)]
    # The members in their canonical order. What stands under "systems" is the same for most people.
    form = (
        f'{{"identifiers":{_canonical(identifiers)},"subject":{_canonical(subject)},"systems":[{",".join(planned)}],'
        f'"version":{_canonical(version)}}}'
    )
    return hashlib.sha256(form.encode("utf-8")).hexdigest()


def _system_form(planned: PlannedSystem) -> str:
    if not planned.record_hashes:
        return _empty_system_form(planned.system, planned.connector)
    records = sorted({h.hex() for h in planned.record_hashes})
    return _canonical({"connector": planned.connector, "records": records, "system": planned.system})


@lru_cache(maxsize=1024)
def _empty_system_form(system: str, connector: str) -> str:
    return _canonical({"connector": connector, "records": [], "system": system})


def _canonical(value: JsonValue) -> str:
    return encode_canonical(value).decode("utf-8")
