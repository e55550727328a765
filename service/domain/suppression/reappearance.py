"""Who of the people seen in a system is an erased person come back: the pure rule from what stands on the list.

Decides whether a record that was seen opens a new request, must be looked at once more when another request has ended,
or is nobody's. Knows hashes only. What the new request may do without a human is the policy's word, in freeze_plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

OPENED_BY = UUID(int=0)
"""Who submitted a request that the sync opened: no key has this id, so whoever may approve plans may approve its."""

ON_THE_LIST = "suppression_list"
"""How its identifiers were verified: they are those of an erased person, verified or reviewed for that request."""

REAPPEARED = "reappeared"
"""The doubt with which a request of the policy `report` waits for its review."""


class ReappearancePolicy(StrEnum):
    """What is done about an erased person who re-appears.

    APPROVE: searched for and planned; nothing has an effect before a second person approves. ERASE: erased at once,
    unless the plan names an identifier that the person's earlier requests didn't have. REPORT: a request that waits for
    a human's review before anybody is searched for.
    """

    APPROVE = "approve"
    ERASE = "erase"
    REPORT = "report"


@dataclass(frozen=True)
class Sighting:
    """A record in one state: its keyed hash, when it changed, and the keyed hashes of what stands in it."""

    record_hash: bytes = field(repr=False)
    changed_at: datetime
    hashes: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """One entry of the suppression list, not removed: whose identifier it is, by the request that put it there."""

    keyed_hash: bytes = field(repr=False)
    request_id: UUID
    added_at: datetime


@dataclass(frozen=True)
class Origin:
    """A request with entries, as it stands in the system that was read.

    `person` is the first request of the same person: its own, or the one of which it is a re-appearance. `is_at_work`:
    its step there hasn't ended. `kept`: records that its step left there on purpose; they never went, so they don't
    re-appear.
    """

    request_id: UUID
    person: UUID
    regime: str
    is_at_work: bool
    kept: frozenset[bytes] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Known:
    """What the store knows about the hashes of a page.

    `holders`: unfinished requests that cover a hash. `refused`: (person, hash) of re-appearances that a human denied or
    the person revoked, and what a reviewer of one said isn't theirs: it stands until the person asks anew. `told`:
    states of records that opened a request already.
    """

    entries: Sequence[Entry] = ()
    origins: Mapping[UUID, Origin] = field(default_factory=dict)
    holders: Mapping[bytes, Set[UUID]] = field(default_factory=dict, repr=False)
    refused: Set[tuple[UUID, bytes]] = field(default_factory=frozenset, repr=False)
    told: Set[tuple[bytes, datetime]] = field(default_factory=frozenset, repr=False)


@dataclass
class Reappeared:
    """One person who is there again: the records, and those of their hashes that stand on the list for this person."""

    person: UUID
    sightings: list[Sighting] = field(default_factory=list)
    hashes: set[bytes] = field(default_factory=set, repr=False)


@dataclass(frozen=True)
class Verdict:
    """Who re-appeared, and for which requests' end the page must be read once more."""

    reappeared: tuple[Reappeared, ...] = ()
    waits_for: frozenset[UUID] = frozenset()


def judge(sightings: Sequence[Sighting], known: Known) -> Verdict:
    """Judge a page. The same page and store give the same verdict, in any order."""
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
    """The person with most of the identifiers; of several, the one who was listed first."""
    hashes: dict[UUID, set[bytes]] = defaultdict(set)
    since: dict[UUID, datetime] = {}
    for entry in listed:
        person = known.origins[entry.request_id].person
        hashes[person].add(entry.keyed_hash)
        since[person] = min(since.get(person, entry.added_at), entry.added_at)
    return min(hashes, key=lambda person: (-len(hashes[person]), since[person], person))
