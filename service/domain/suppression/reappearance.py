"""The rule that recognises an erased person in a system again, by entries of the suppression list.

Decides whether a seen record opens a new request, must be read again after the end of another request, or is no erased
person's. Knows hashes only. Doesn't decide what the new request may do without a human
(`service.requests.planning.reappearance_policy`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

OPENED_BY = UUID(int=0)
"""The submitter of requests that the sync opened. No key has this id, so every key with the scope may approve them."""

ON_THE_LIST = "suppression_list"
"""The verification method of such a request's identifiers: verified or reviewed for the earlier request."""

REAPPEARED = "reappeared"
"""The reason of the doubt with which a request under the policy `report` waits for its review."""


class ReappearancePolicy(StrEnum):
    """The treatment of an erased person that re-appears.

    APPROVE: the request is searched and planned; no effect starts before a second person approves. ERASE: the person is
    erased at once, unless the plan has an identifier that the person's earlier requests didn't have. REPORT: the
    request waits for a human's review before the search.
    """

    APPROVE = "approve"
    ERASE = "erase"
    REPORT = "report"


@dataclass(frozen=True)
class Sighting:
    """A record in one state: its keyed hash, its time of change, and the keyed hashes of its identifiers."""

    record_hash: bytes = field(repr=False)
    changed_at: datetime
    hashes: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """One present entry of the suppression list, with the request that added it."""

    keyed_hash: bytes = field(repr=False)
    request_id: UUID
    added_at: datetime


@dataclass(frozen=True)
class Origin:
    """A request with entries, and its step in the system that was read.

    `person` is the first request of the same person: its own id, or that of the request of which it is a re-appearance.
    `is_at_work`: its step there hasn't ended. `kept`: records that its step left there on purpose; they were never
    erased, so they don't re-appear.
    """

    request_id: UUID
    person: UUID
    regime: str
    is_at_work: bool
    kept: frozenset[bytes] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Known:
    """The stored facts about the hashes of a page.

    `holders`: unfinished requests that cover a hash. `refused`: (person, hash) of re-appearances that a human denied or
    the person revoked, and of identifiers that a reviewer of one dropped; they count until the person submits a new
    request. `told`: states of records that have opened a request already.
    """

    entries: Sequence[Entry] = ()
    origins: Mapping[UUID, Origin] = field(default_factory=dict)
    holders: Mapping[bytes, Set[UUID]] = field(default_factory=dict, repr=False)
    refused: Set[tuple[UUID, bytes]] = field(default_factory=frozenset, repr=False)
    told: Set[tuple[bytes, datetime]] = field(default_factory=frozenset, repr=False)


@dataclass
class Reappeared:
    """One person that re-appeared: the records, and those of their hashes that are this person's entries."""

    person: UUID
    sightings: list[Sighting] = field(default_factory=list)
    hashes: set[bytes] = field(default_factory=set, repr=False)


@dataclass(frozen=True)
class Verdict:
    """The people that re-appeared, and the requests after whose end the page must be read again."""

    reappeared: tuple[Reappeared, ...] = ()
    waits_for: frozenset[UUID] = frozenset()


def judge(sightings: Sequence[Sighting], known: Known) -> Verdict:
    """Return the verdict on a page. It doesn't depend on the order of the sightings."""
    entries: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in known.entries:
        entries[entry.keyed_hash].append(entry)
    found: dict[UUID, Reappeared] = {}
    waits_for: set[UUID] = set()
    for sighting in sightings:
        if (sighting.record_hash, sighting.changed_at) in known.told:
            continue
        listed = [e for h in sorted(sighting.hashes) for e in entries.get(h, ()) if _counts(sighting, e, known)]
        if not listed:
            continue
        busy = {h for e in listed for h in known.holders.get(e.keyed_hash, ())}
        busy |= {e.request_id for e in listed if known.origins[e.request_id].is_at_work}
        if busy:
            waits_for |= busy
            continue
        person = _whose(listed, known)
        reappeared = found.setdefault(person, Reappeared(person))
        reappeared.sightings.append(sighting)
        reappeared.hashes |= {e.keyed_hash for e in listed if known.origins[e.request_id].person == person}
    return Verdict(tuple(found.values()), frozenset(waits_for))


def _counts(sighting: Sighting, entry: Entry, known: Known) -> bool:
    origin = known.origins[entry.request_id]
    return sighting.record_hash not in origin.kept and (origin.person, entry.keyed_hash) not in known.refused


def _whose(listed: Sequence[Entry], known: Known) -> UUID:
    """Return the person with most of the identifiers; of several, the one with the oldest entry."""
    hashes: dict[UUID, set[bytes]] = defaultdict(set)
    since: dict[UUID, datetime] = {}
    for entry in listed:
        person = known.origins[entry.request_id].person
        hashes[person].add(entry.keyed_hash)
        since[person] = min(since.get(person, entry.added_at), entry.added_at)
    return min(hashes, key=lambda person: (-len(hashes[person]), since[person], person))
