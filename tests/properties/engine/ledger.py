"""The machine's own book: what people asked for and allowed, and what vendors were told, checked the moment it happens.

It believes the service's rows only where it can't know better (which identifiers are planned, when a hold takes effect)
and never asks the service's rules. What is wrong is noted, since an exception in a vendor call would be answered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from connectors.base.interface import ErasesBy
from connectors.base.transitions.states import Phase
from connectors.base.values import Identifier, Record, Subject
from tests.properties.engine.connectors import MODEL_CONNECTORS
from tests.properties.engine.people import ALL_IDENTIFIERS
from tests.properties.engine.snapshot import Row, Snapshot
from tests.properties.engine.vendor import Look

if TYPE_CHECKING:
    from tests.properties.engine.worker import WorkerPass
    from tests.properties.engine.world import World

MAY_GO_ON_FOR = timedelta(seconds=30)
"""How long after a hold or a withdrawal an effect that was under way may still start (I6)."""
WITHDRAWN = ("denied", "revoked")


@dataclass
class KnownHold:
    """A hold that somebody placed."""

    identifiers: frozenset[Identifier]
    effective_at: datetime
    until: datetime | None
    is_lifted: bool = False

    def is_in_force(self, now: datetime) -> bool:
        """Whether it holds anybody at that moment."""
        return not self.is_lifted and (self.until is None or now < self.until)


@dataclass
class Ledger:
    """The book of one run."""

    world: World
    wrong: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    seeds: dict[str, dict[Identifier, bool]] = field(default_factory=dict)
    dropped: dict[str, set[Identifier]] = field(default_factory=lambda: defaultdict(set))
    holds: dict[str, KnownHold] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)
    withdrawn_at: dict[str, datetime] = field(default_factory=dict)
    decided: set[str] = field(default_factory=set)
    _found: dict[str, set[Record]] = field(default_factory=lambda: defaultdict(set))
    _frozen: dict[tuple[str, int, str], frozenset[str]] = field(default_factory=dict)
    _keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _tokens: dict[str, bytes] = field(default_factory=dict)
    _seen_at_once: dict[str, int] = field(default_factory=dict)
    rows: Snapshot = field(init=False)

    def __post_init__(self) -> None:
        pepper = self.world.stores.pepper
        self.by_hash = {pepper.of_identifier(i).hex(): i for i in ALL_IDENTIFIERS}

    def observe(self, rows: Snapshot) -> None:
        """The rows as they are now, after something was done."""
        for request in rows.requests.values():
            if request["state"] in WITHDRAWN:
                self.withdrawn_at.setdefault(request["id"], rows.now)
        for step in rows.steps.values():
            version = rows.requests[step["request_id"]]["plan_version"]
            if step["plan_version"] is not None:
                key = (step["request_id"], version, step["system"])
                self._frozen.setdefault(key, frozenset(step["record_hashes"]))
            if step["plan_rounds"] > self._seen_at_once.get(step["id"], step["plan_rounds"]):
                # A look in the erasing pass found something: who is erased again after a look goes with a new key.
                del self._seen_at_once[step["id"]]
                self._keys.pop((step["id"], "erase"), None)
            for phase in ("suppress", "erase"):
                if step["phase"] != phase or step["state"] in ("parked", "waiting"):
                    self._keys.pop((step["id"], phase), None)
        self.rows = rows

    # What the machine writes down.

    def found(self, ref: str, records: Collection[Record]) -> None:
        """A search of this system answered these records for this person."""
        self._found[ref].update(records)

    def saved(self, works_on: WorkerPass, token: bytes) -> None:
        """A resume token is durable."""
        self._tokens[works_on.leased.batch.key] = token

    def looked(self, works_on: WorkerPass, subject: Subject) -> None:
        """A look was answered; what the vendor truly had at that moment is written down."""
        vendor, now = self.world.vendors[works_on.leased.system], self.world.clock.now()
        held = vendor.truly_held(subject.identifiers, subject.records, now)
        vendor.looks[subject.ref] = Look(now, frozenset(held))
        step = self._step(subject)
        if works_on.leased.phase is Phase.ERASE:
            self._seen_at_once[step["id"]] = step["plan_rounds"]
        missing = self._understood(step, self._planned(step)) - set(subject.identifiers)
        if missing:
            self._note(works_on, subject, f"looked without {len(missing)} planned identifiers")
        if not {self._hash(step, r) for r in subject.records} >= set(step["record_hashes"]):
            self._note(works_on, subject, "looked without a frozen record id")

    # What is checked the moment it happens.

    def leased(self, works_on: WorkerPass) -> None:
        """A pass was leased: nobody is in it who was held or withdrawn before, and no token was forgotten."""
        leased = works_on.leased
        if leased.resume_token != self._tokens.get(leased.batch.key):
            self.wrong.append(f"{leased.system}: the batch's newest resume token is not the leased one")
        if leased.phase not in (Phase.SUPPRESS, Phase.ERASE):
            return
        for step in leased.steps:
            request = str(step.request_id)
            if self.is_held(request):
                self._note(works_on, step.subject, "leased although the person was held before")
            if request in self.withdrawn_at:
                self._note(works_on, step.subject, "leased although the request was withdrawn before")
            if not self._is_approved(self._step(step.subject)):
                self._note(works_on, step.subject, "leased although nobody approved the plan")

    def told(self, works_on: WorkerPass, subject: Subject) -> None:
        """The vendor hears of a person (I4, I5)."""
        step = self._step(subject)
        request = step["request_id"]
        token = self.world.fence_of(works_on.leased.id, works_on.leased.fence)
        if UUID(step["id"]) not in token.tried and token.fence == works_on.leased.fence:
            self._note(works_on, subject, "called without an attempt on record")
        uses = ("planned",) if step["plan_version"] is not None else ("planned", "pending")
        foreign = set(subject.identifiers) - self._identifiers(self.rows.used(request, *uses))
        if foreign:
            self._note(works_on, subject, f"told {len(foreign)} identifiers that aren't frozen")
        verified = [i for i, is_verified in self.seeds.get(request, {}).items() if is_verified]
        if not set(subject.identifiers) <= self.world.graph.reached_from(verified) - self.dropped[request]:
            self._note(works_on, subject, "told an identifier that no verified one leads to, or a dropped one")
        if not set(subject.records) <= self._found[subject.ref]:
            self._note(works_on, subject, "told a record id that this system never showed for this person")
        if works_on.leased.phase in (Phase.SUPPRESS, Phase.ERASE):
            self._expect_same_key(works_on, subject, step, token.root_id)

    def _expect_same_key(self, works_on: WorkerPass, subject: Subject, step: Row, root: UUID | None) -> None:
        """A retry has the key of the try before, or is a part of that batch, of which the vendor has done nothing."""
        key, place = works_on.leased.batch.key, (step["id"], works_on.leased.phase)
        family = key if root is None else str(root)
        tried, tried_family = self._keys.get(place, (key, family))
        vendor = self.world.vendors[step["system"]]
        acted = any(e.ref == subject.ref and e.batch == tried for e in vendor.effects)
        if tried != key and (tried_family != family or acted):
            self._note(works_on, subject, "a retry came under another batch key")
        self._keys[place] = key, family

    def acts_on(self, works_on: WorkerPass, subject: Subject, records: Iterable[Record]) -> None:
        """An effect begins (I4, I6)."""
        step, now = self._step(subject), self.world.clock.now()
        request = step["request_id"]
        token = self.world.fence_of(works_on.leased.id, works_on.leased.fence)
        lease_until = token.lease_until or now
        if token.fence != works_on.leased.fence or token.ended_at is not None or lease_until <= now:
            self._note(works_on, subject, "acted under a token that isn't valid any more")
        for hold in self.holds.values():
            if hold.is_in_force(now) and now >= hold.effective_at and hold.identifiers & self._held_by(request):
                self._note(works_on, subject, "acted after a hold took effect")
        if request in self.withdrawn_at and now >= self.withdrawn_at[request] + MAY_GO_ON_FOR:
            self._note(works_on, subject, "acted after the request was withdrawn")
        if not self._is_approved(step):
            self._note(works_on, subject, "acted on a plan that nobody approved")
        if works_on.leased.phase is Phase.ERASE and subject.ref in self.world.vendors[step["system"]].unfinished:
            self._note(works_on, subject, "erased while the suppression's job runs")
        if MODEL_CONNECTORS[self.world.kind_of(works_on.leased.system)].declaration.erases_by is ErasesBy.RECORDS:
            allowed = self._allowed_versions(request)
            frozen = {h for v in allowed for h in self._frozen.get((request, v, step["system"]), ())}
            if not {self._hash(step, r) for r in records} <= frozen:
                self._note(works_on, subject, "acted on a record that isn't in an approved plan")

    def is_held(self, request: str) -> bool:
        """Whether a hold is in force on the person of a request."""
        now = self.world.clock.now()
        return any(h.is_in_force(now) and h.identifiers & self._held_by(request) for h in self.holds.values())

    def _is_approved(self, step: Row) -> bool:
        """Whether the step's plan, or a later one that holds all of it, needed no approval or has it."""
        version = step["plan_version"]
        return version is not None and any(v >= version for v in self._allowed_versions(step["request_id"]))

    def _allowed_versions(self, request: str) -> list[int]:
        return [
            version
            for (of, version), plan in self.rows.plans.items()
            if of == request and (not plan["approval_reasons"] or plan["hash"] in self.approved)
        ]

    def _held_by(self, request: str) -> frozenset[Identifier]:
        return self._identifiers(self.rows.used(request, "planned", "pending"))

    def _planned(self, step: Row) -> frozenset[Identifier]:
        return self._identifiers(self.rows.used(step["request_id"], "planned"))

    def _understood(self, step: Row, identifiers: Iterable[Identifier]) -> set[Identifier]:
        kinds = MODEL_CONNECTORS[self.world.kind_of(step["system"])].declaration.identifier_kinds
        return {i for i in identifiers if i.kind in kinds}

    def _identifiers(self, hashes: Iterable[str]) -> frozenset[Identifier]:
        return frozenset(self.by_hash[h] for h in hashes)

    def _hash(self, step: Row, record: Record) -> str:
        return "\\x" + self.world.stores.pepper.of_record(step["system"], record).hex()

    def _step(self, subject: Subject) -> Row:
        return self.rows.steps[str(UUID(subject.ref))]

    def _note(self, works_on: WorkerPass, subject: Subject, what: str) -> None:
        self.world.tell(f"WRONG {what}")
        self.wrong.append(f"{works_on.leased.system} {works_on.leased.phase}: {what}")
