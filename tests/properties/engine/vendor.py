"""A vendor in memory: what it truly holds, what its search shows, and a journal of everything that it was told.

Truth and sight differ: a deletion that was accepted is carried out later, and one that fails silently hides its records
from the search for a while. Strict: it never guesses whom a call is about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from connectors.base.values import Identifier, Record

OBJECT = "contact"


@dataclass
class HeldRecord:
    """One record. `purged_at`: gone from then on. `hidden_until`: not found by a search before then, though held."""

    record: Record
    carries: frozenset[Identifier]
    purged_at: datetime | None = None
    hidden_until: datetime | None = None

    def is_held(self, now: datetime) -> bool:
        """Whether the vendor truly has it."""
        return self.purged_at is None or now < self.purged_at

    def is_seen(self, now: datetime) -> bool:
        """Whether a search finds it."""
        return self.is_held(now) and (self.hidden_until is None or now >= self.hidden_until)

    def is_leaving(self) -> bool:
        """Whether the vendor has promised to purge it."""
        return self.purged_at is not None


@dataclass(frozen=True)
class Effect:
    """Something that the vendor did, or promised to do, to records."""

    at: datetime
    ref: str
    batch: str
    records: frozenset[Record]


@dataclass(frozen=True)
class Look:
    """A look that was answered, and what the vendor truly held of the person at that moment."""

    at: datetime
    still_held: frozenset[Record]


@dataclass
class ModelVendor:
    """One account at a vendor.

    `suppressions`: jobs by batch key and person. `unfinished`: people whose job was
    running when last asked.
    """

    name: str
    holds: dict[str, HeldRecord] = field(default_factory=dict)
    jobs: dict[tuple[str, str], datetime] = field(default_factory=dict)
    suppressions: dict[tuple[str, str], datetime] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    looks: dict[str, Look] = field(default_factory=dict)

    def add(self, carries: Iterable[Identifier]) -> HeldRecord:
        """The vendor comes to know somebody."""
        held = HeldRecord(Record(OBJECT, f"canary-{self.name}-{len(self.holds)}"), frozenset(carries))
        self.holds[held.record.id] = held
        return held

    def search(self, identifiers: Collection[Identifier], now: datetime) -> list[HeldRecord]:
        """What a search by any of these identifiers shows."""
        return [h for h in self.holds.values() if h.is_seen(now) and h.carries & set(identifiers)]

    def by_id(self, records: Collection[Record], now: datetime) -> list[HeldRecord]:
        """What a look-up of these ids shows."""
        return [h for r in records if (h := self.holds.get(r.id)) is not None and h.is_seen(now)]

    def truly_held(
        self, identifiers: Collection[Identifier], records: Collection[Record], now: datetime
    ) -> set[Record]:
        """Everything of the person that is there, whatever a search shows."""
        ids = {r.id for r in records}
        return {
            h.record
            for h in self.holds.values()
            if h.is_held(now) and (h.carries & set(identifiers) or h.record.id in ids)
        }

    def purge(self, ref: str, batch: str, records: Iterable[HeldRecord], now: datetime, at: datetime) -> None:
        """Delete at `at`; the effect has begun now."""
        gone = list(records)
        for held in gone:
            if held.purged_at is None or at < held.purged_at:
                held.purged_at = at
        self.effects.append(Effect(now, ref, batch, frozenset(h.record for h in gone)))
