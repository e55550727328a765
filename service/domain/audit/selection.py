"""The entries of the log that an excerpt holds: those of a period, a system or a law.

A period becomes a range of indexes: from the first entry that was written in it to the last one. The order of clocks
differs from the order of commits, so the range may include entries written a moment outside the period. No entry
written inside is left out, and the indexes prove that the range is complete. For each object (a step, a request, ...)
the excerpt holds either all of its entries in the range or none, so that its counter reveals a missing one:

- a system's entries are its own, those of every step and batch in it, and those of the requests whose plans have these
  steps, because one entry of the request begins or continues all steps of its plan;
- a law's entries are those of every request that was submitted under it, and of its steps; not those of batches,
  because a batch may hold people under several laws.

Decides nothing about reading or proving entries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from service.domain.audit.canonical_json import JsonValue
from service.domain.audit.entry import EntryMembers, NotAuditable, decode_entry
from service.domain.audit.schema import instant_text

# Avoids decoding every entry: in the canonical form `actor` and `at` are first, and neither has a quotation mark.
_AT = re.compile(rb'\{"actor":"[^"]*","at":"([0-9TZ:.-]{27})",')
_OPENED = b'"event":"request_settled"'
_SUBMITTED = b'"event":"request_submitted"'


@dataclass(frozen=True)
class Selection:
    """The filter of an excerpt; None means no restriction.

    Entries written at `from_at` or later and before `to_at`, in one system, under one regime.
    """

    from_at: datetime | None = None
    to_at: datetime | None = None
    system: str | None = None
    regime: str | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    @property
    def is_dense(self) -> bool:
        """Return whether the excerpt holds every entry of the range."""
        return self.system is None and self.regime is None

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "from": None if self.from_at is None else instant_text(self.from_at),
            "regime": self.regime,
            "system": self.system,
            "to": None if self.to_at is None else instant_text(self.to_at),
        }


@dataclass
class Choice:
    """The search for an excerpt's range and objects: call `see` for every entry in order, then `wants`.

    The range is first <= index < end; empty if no entry was written in the period.
    """

    selection: Selection
    first: int | None = None
    end: int = 0
    _steps: set[str] = field(default_factory=set)
    _requests: set[str] = field(default_factory=set)
    _subjects: set[str | None] = field(default_factory=set)

    def see(self, index: int, raw: bytes) -> None:
        """Read one entry of the log. Raises NotAuditable for bytes that aren't an entry."""
        if self._is_in_period(raw):
            self.first = index if self.first is None else self.first
            self.end = index + 1
        if self.selection.system is not None and _OPENED in raw:
            entry = decode_entry(raw)
            if entry["event"] == "request_settled" and self.selection.system in entry["data"]["systems"]:
                steps = zip(entry["data"]["steps"], entry["data"]["systems"], strict=True)
                self._steps.update(step for step, system in steps if system == self.selection.system)
                self._requests.add(entry["object_id"])
        if self.selection.regime is not None and _SUBMITTED in raw:
            entry = decode_entry(raw)
            if entry["event"] == "request_submitted" and entry["data"].get("regime") == self.selection.regime:
                self._subjects.add(entry["subject"])

    def range(self) -> tuple[int, int]:
        """Return the range's first index and its end."""
        return (self.end, self.end) if self.first is None else (self.first, self.end)

    def wants(self, entry: EntryMembers) -> bool:
        """Return whether an entry of the range belongs to the excerpt."""
        system, regime = self.selection.system, self.selection.regime
        if system is not None:
            chosen = {"step": self._steps, "request": self._requests, "system": {system}}
            in_it = entry["object"] == "batch" and entry["data"]["system"] == system
            if not in_it and entry["object_id"] not in chosen.get(entry["object"], ()):
                return False
        return regime is None or entry["subject"] in self._subjects

    def _is_in_period(self, raw: bytes) -> bool:
        found = _AT.match(raw)
        if found is None:
            raise NotAuditable("not an entry of this format")
        at = found[1].decode("ascii")
        # Instants in the log have one spelling, so texts compare as instants do.
        after = self.selection.from_at is None or instant_text(self.selection.from_at) <= at
        return after and (self.selection.to_at is None or at < instant_text(self.selection.to_at))
