"""The hash of a plan, over pseudonyms only, so that audit entries may contain it.

Decides the canonical form of a plan. Doesn't decide which systems are in it (`service.requests.planning`) or whether
it needs approval (`blast_radius`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from service.domain.audit.canonical_json import JsonValue, encode_canonical


@dataclass(frozen=True)
class PlannedSystem:
    """One step of the plan: system, connector, and keyed hashes of the frozen record ids."""

    system: str
    connector: str
    record_hashes: tuple[bytes, ...]


def plan_hash(subject: str, version: int, identifier_hashes: Iterable[bytes], systems: Iterable[PlannedSystem]) -> str:
    """Return SHA-256 of the plan's canonical form, in hex; the same for the same content in any order."""
    identifiers = sorted({h.hex() for h in identifier_hashes})
    planned = [_system_form(s) for s in sorted(systems, key=lambda s: s.system)]
    # The members in their canonical order. The value of "systems" is the same for most people, so its parts are cached.
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
