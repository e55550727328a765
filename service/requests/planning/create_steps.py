"""Open the steps of settled requests: one per active system, to be searched or, without need of it, to be planned.

Decides where a step begins. Where a request goes from there, and its row, is the caller's (start_requests), who has
locked the requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row

from service.domain.audit.schema import AuditValue
from service.domain.execution.states import Phase, StepState
from service.domain.identity.cluster import Cluster
from service.settings import Settings
from service.store.arrays import Packed, counted, listed, packed, timed
from service.store.audit_log.record_change import Change
from service.store.execute import run
from service.store.locking import version_of
from service.system_rules import rules_of


@dataclass(frozen=True, slots=True)
class ActiveSystem:
    """A system in which everybody has a step."""

    name: str
    position: int
    searches_first: bool


@dataclass(frozen=True, slots=True)
class OpenedStep:
    """A step that isn't written yet, in the words of its row: as much of it as a plan reads (release_plan)."""

    id: UUID
    request: Row[Any]
    request_id: UUID
    system: str
    position: int
    located: bool

    phase: ClassVar[Phase] = Phase.LOCATE
    plan_version: ClassVar[int | None] = None
    record_hashes: ClassVar[Sequence[bytes]] = ()
    counts: ClassVar[Mapping[str, int]] = {}
    version: ClassVar[int] = 0
    entry_hash: ClassVar[bytes | None] = None

    @property
    def state(self) -> StepState:
        """Where nothing is to be searched, the step waits for its plan like one whose search has answered."""
        return StepState.WAITING if self.located else StepState.DUE


class FirstPlace(NamedTuple):
    """Where a step stands when its row is written."""

    step: OpenedStep
    phase: Phase
    state: StepState
    reason: str | None = None
    due_at: datetime | None = None
    waits_for_order: bool = False
    plan_version: int | None = None


_ACTIVE = "SELECT name, position FROM systems WHERE state = 'active' ORDER BY position, name"


def active_systems(connection: Connection, settings: Settings) -> list[ActiveSystem]:
    """The systems that a request has a step in, in their order."""
    rows = run(connection, _ACTIVE).all()
    return [ActiveSystem(row.name, row.position, _searches_first(settings, row.name)) for row in rows]


def _searches_first(settings: Settings, system: str) -> bool:
    try:
        return rules_of(settings, system).searches_first
    except KeyError:
        # Another process has configured it and knows how it works: nobody skips a search by not knowing.
        return True


def opened_steps(request: Row[Any], systems: Sequence[ActiveSystem]) -> list[OpenedStep]:
    """A request's new steps, not written yet."""
    return [OpenedStep(uuid4(), request, request.id, s.name, s.position, not s.searches_first) for s in systems]


def settled_change(request: Row[Any], cluster: Cluster, steps: Sequence[OpenedStep]) -> Change:
    """The request's entry with which its steps begin: their rows have had none of their own."""
    data: dict[str, AuditValue] = {
        "identifiers": len(cluster.members),
        "excluded": len(cluster.excluded),
        "doubts": sorted({str(doubt["reason"]) for doubt in request.doubts}),
        "steps": [str(step.id) for step in steps],
        "systems": [step.system for step in steps],
    }
    if unsearched := [step.system for step in steps if step.located]:
        data["unsearched"] = unsearched
    return Change("request", str(request.id), version_of(request), "request_settled", request.subject, data)


_INSERT = (
    "INSERT INTO steps (id, request_id, system, position, phase, state, reason, due_at, respond_by, lane, located,"
    " waits_for_order, plan_version) SELECT * FROM unnest("
    " CAST(:ids AS uuid[]), CAST(:requests AS uuid[]), CAST(:systems AS text[]), CAST(:positions AS integer[]),"
    " CAST(:phases AS text[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),"
    " CAST(:deadlines AS timestamptz[]), CAST(:lanes AS uuid[]), CAST(:located AS boolean[]),"
    " CAST(:waits AS boolean[]), CAST(:versions AS integer[]))"
)


def insert_steps(connection: Connection, places: Sequence[FirstPlace]) -> None:
    """Write these steps' rows, one statement for any number."""
    if not places:
        return
    steps = [place.step for place in places]
    run(
        connection,
        _INSERT,
        {
            "ids": listed(step.id for step in steps),
            "requests": listed(step.request_id for step in steps),
            "systems": Packed(step.system for step in steps),
            "positions": counted(step.position for step in steps),
            "phases": Packed(place.phase for place in places),
            "states": Packed(place.state for place in places),
            "reasons": packed([place.reason for place in places]),
            "dues": timed(place.due_at for place in places),
            "deadlines": timed(step.request.respond_by for step in steps),
            "lanes": listed(step.request.lane for step in steps),
            "located": counted(step.located for step in steps),
            "waits": counted(place.waits_for_order for place in places),
            "versions": counted(place.plan_version for place in places),
        },
    )
