"""What one run of the machine happens in: databases, clock, graph, vendors, settings, and the machine's own book."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connectors.base import registry
from service.domain.audit.signed_note import SigningKey
from service.execution import record as recording
from service.execution.systems.sync_config import sync_systems
from service.execution.worker_context import WorkerContext
from service.settings import Settings, parse_settings
from service.store.encryption.secrets import audit_signing_key
from service.store.stores import Stores
from tests.properties.engine import worker
from tests.properties.engine.audit_eye import AuditEye
from tests.properties.engine.clock import Clock
from tests.properties.engine.connectors import MODEL_CONNECTORS
from tests.properties.engine.invariants import broken
from tests.properties.engine.ledger import Ledger
from tests.properties.engine.people import ModelGraph
from tests.properties.engine.snapshot import READ, Snapshot, taken_from
from tests.properties.engine.store import MachineStores
from tests.properties.engine.vendor import ModelVendor

_FENCE = (
    "SELECT fence, ended_at, lease_until, root_id,"
    " ARRAY(SELECT step_id FROM attempts a WHERE a.batch_id = b.id AND a.fence = %(f)s AND a.ended_at IS NULL) AS tried"
    " FROM batches b WHERE id = %(id)s"
)
SYSTEMS: dict[str, tuple[str, ...]] = {
    "alpha": ("by_records", "by_records_at_once"),
    "beta": ("by_identifiers", "told_at_once"),
    "gamma": ("unseen",),
}
"""The connected systems and what kinds each may be of; a run has one of them."""
_ACCEPTS_NOT_ADDRESSABLE = "beta"
_MOST_RECORDS_UNASKED = 2


class InvariantBroken(AssertionError):  # noqa: N818 - says what is true
    """What the machine is looking for."""


class RepeatableChance:
    """Ids that are the same in every repetition of a run: rows are locked, and people of a batch ordered, by id."""

    def __init__(self) -> None:
        self.drawn = 0

    def bytes(self, length: int) -> bytes:
        """Stands in for `os.urandom`."""
        self.drawn += 1
        return hashlib.shake_128(str(self.drawn).encode()).digest(length)


class World:
    """Lives as long as a test; `begin` starts a run."""

    def __init__(self, databases: MachineStores, directory: Path, chance: RepeatableChance) -> None:
        self._chance = chance
        self._databases = databases
        self._directory = directory
        self.stores: Stores = databases.product
        self.clock = Clock()
        self._key: SigningKey | None = None
        self.begin({name: kinds[0] for name, kinds in SYSTEMS.items()}, always_approve=False, coalesces=False)

    def begin(self, kinds: Mapping[str, str], *, always_approve: bool, coalesces: bool) -> None:
        """A new run: nothing ever happened. `kinds`: of each system; `coalesces`: steps wait for company in a batch."""
        self._chance.drawn = 0
        self._databases.empty()
        self.clock.restart()
        self.graph = ModelGraph()
        self.vendors = {name: ModelVendor(name) for name in SYSTEMS}
        self._kinds = kinds
        self._whole = self._parsed(always_approve=always_approve, max_batching_delay_seconds=2.0 if coalesces else 0.0)
        self.settings = self._whole
        self.ledger = Ledger(self)
        self._eye = AuditEye()
        self.story: list[str] = []
        self.rows = Snapshot(self.clock.now())
        self.ledger.observe(self.rows)
        sync_systems(self.stores, self.settings)
        self.check()

    def check(self) -> None:
        """Compare everything with the book and with what was before. Raises InvariantBroken."""
        rows = self._read()
        before, self.rows = self.rows, rows
        wrong = [*broken(self, before, rows), *self._eye.broken(rows)]
        self.ledger.observe(rows)
        wrong += self.ledger.wrong
        self._tell_changes(before, rows)
        if wrong:
            raise InvariantBroken("\n".join([*dict.fromkeys(wrong), "", *self.story]))

    def _read(self) -> Snapshot:
        return taken_from(self._databases.read(READ, {"seen": self._eye.seen}), self.clock.now())

    def fence_of(self, batch: UUID, fence: int) -> Any:
        """The batch's newest fence, its lease, and the steps that were tried under the given fence."""
        return self._databases.read(_FENCE, {"id": batch, "f": fence})

    def tell(self, line: str) -> None:
        """Goes into the report of a failure."""
        self.story.append(f"{self.clock.offset.total_seconds():>10.0f}s {line}")

    def _tell_changes(self, before: Snapshot, after: Snapshot) -> None:
        by_age = sorted(after.requests.values(), key=lambda row: row["created_at"])
        names = {row["id"]: place for place, row in enumerate(by_age)}
        for key, request in after.requests.items():
            if before.requests.get(key, {}).get("version") != request["version"]:
                self.tell(f"  request {names[key]}: {request['state']} {request['reason']} {request['next_action']}")
        for key, step in after.steps.items():
            if before.steps.get(key, {}).get("version") != step["version"]:
                what = " ".join(str(step[n]) for n in ("phase", "state", "reason", "plan_rounds", "effect_possible"))
                due = "" if step["due_at"] is None else f" due in {(step['due_at'] - after.now).total_seconds():.0f}s"
                self.tell(f"  step {names[step['request_id']]}/{step['system']}: {what}{due}")

    def record(self, works_on: worker.WorkerPass, *arguments: Any) -> recording.Recorded:
        """The product's recording; a late one must not move any step (I4)."""
        before = self._read()
        batch = before.batches.get(str(works_on.leased.id))
        is_late = batch is None or batch["fence"] != works_on.leased.fence
        recorded = recording.record_answers(*arguments)
        if is_late:
            after = self._read()
            for step in works_on.leased.steps:
                key = str(step.step_id)
                moved = [n for n in ("state", "phase", "reason") if before.steps[key][n] != after.steps[key][n]]
                if moved:
                    self.ledger.wrong.append(f"I4: a late answer changed a step's {moved}")
        return recorded

    def move_clock(self, by: timedelta) -> None:
        """Time passes, here and in the database."""
        self.clock.move(by)
        self._databases.set_offset(self.clock.offset)

    @contextmanager
    def dying_after(self, boundaries: int | None) -> Iterator[None]:
        """See MachineStores."""
        with self._databases.dying_after(boundaries):
            yield

    def key_owners(self) -> set[str]:
        """Whose data keys exist."""
        return self._databases.key_owners()

    @property
    def tables(self) -> list[str]:
        """The names of all tables of the main store."""
        return self._databases.tables

    def connect(self, systems: Collection[str]) -> None:
        """The configuration names these systems from now on, and the service is started with it."""
        kept = tuple(s for s in self._whole.systems if s.config.name in systems)
        self.settings = replace(self._whole, systems=kept)
        sync_systems(self.stores, self.settings)

    @property
    def connected(self) -> frozenset[str]:
        """The systems that the configuration names."""
        return frozenset(s.config.name for s in self.settings.systems)

    def runtime_of_a_process(self) -> WorkerContext:
        """What a worker process opens: the settings as they are now, the shared stores."""
        runtime = WorkerContext(self.settings, self.stores)
        runtime._source = self.graph
        return runtime

    def signing_key(self) -> SigningKey:
        """The audit log's key."""
        if self._key is None:
            self._key = audit_signing_key(self.settings)
        return self._key

    def kind_of(self, system: str) -> str:
        """The connector of a system."""
        return self._kinds[system]

    def is_looked_at_once(self, system: str) -> bool:
        """Whether the system's vendor needs no time, so that a look may follow the erasing call in its pass."""
        declared = MODEL_CONNECTORS[self.kind_of(system)].declaration
        return declared.can_confirm and not declared.delays.confirm_after

    def accepts_not_addressable(self, system: str) -> bool:
        """Whether the system's policy ends steps of people whom it can't address."""
        return self._whole.system(system).accept_not_addressable

    def _parsed(self, *, always_approve: bool, max_batching_delay_seconds: float) -> Settings:
        table = {
            "service": {"data_directory": str(self._directory)},
            "engine": {
                "lease_seconds": 30.0,
                "hold_delay_seconds": 30.0,
                "data_key_retention_seconds": 3600.0,
                "max_batching_delay_seconds": max_batching_delay_seconds,
            },
            "approval": {"always": always_approve, "max_records_per_system": _MOST_RECORDS_UNASKED},
            "identity_graph": {"base_url": "model://graph", "one_per_person_kinds": ["customer_id"]},
            "systems": [
                {
                    "name": name,
                    "connector": kind,
                    "base_url": "model://vendor",
                    "when_not_addressable": "accept" if name == _ACCEPTS_NOT_ADDRESSABLE else "review",
                }
                for name, kind in self._kinds.items()
            ],
        }
        return parse_settings(table)


@contextmanager
def opened(patch: pytest.MonkeyPatch, database_url: str, key_database_url: str, directory: Path) -> Iterator[World]:
    """A world on these databases, with the product's workers on its clock and its connectors installed."""
    patch.setattr(registry, "connectors", lambda: MODEL_CONNECTORS)
    chance = RepeatableChance()
    patch.setattr("os.urandom", chance.bytes)
    databases = MachineStores(database_url, key_database_url)
    try:
        world = World(databases, directory, chance)
        worker.patched(patch.setattr, world)
        yield world
    finally:
        databases.close()
