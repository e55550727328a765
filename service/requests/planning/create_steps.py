"""Create the steps of requests whose identities are resolved: one per active system.

Decides where a step begins: with a search, or waiting for the plan where its system needs none. Doesn't decide where
the request goes from there (`start.py`); the caller has locked the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection

from connectors.base.transitions.states import Phase, StepState
from service.domain.audit.schema import AuditValue
from service.domain.identity.cluster import Cluster
from service.domain.requests.states import RequestKind
from service.requests.planning.store import StepInsert, StoredStep, active_positions
from service.requests.records.rows import PlannedRequest, change_of
from service.settings import Settings
from service.store.audit_log.record_change import Change
from service.system_rules import rules_of


@dataclass(frozen=True, slots=True)
class ActiveSystem:
    """A system in which every request has a step."""

    name: str
    position: int
    searches_first: bool


@dataclass(frozen=True)
class ResolvedRequest:
    """A locked request that was just resolved: its steps, which aren't written yet, and its entry."""

    request: PlannedRequest
    steps: Sequence[StoredStep]
    change: Change


def active_systems(connection: Connection, settings: Settings) -> list[ActiveSystem]:
    """Return the systems that a request has a step in, in their order."""
    return [
        ActiveSystem(name, position, _searches_first(settings, name)) for name, position in active_positions(connection)
    ]


def _searches_first(settings: Settings, system: str) -> bool:
    try:
        return rules_of(settings, system).searches_first
    except KeyError:
        # Another process has configured the system. Its rules are unknown here, and a search is never left out.
        return True


def create_steps(request: PlannedRequest, systems: Sequence[ActiveSystem], cluster: Cluster) -> ResolvedRequest:
    """Return the request with its new steps, which `insert_steps` writes, and the entry about them.

    A suppression needs no search, because the connector looks for the person itself.
    """
    searches = request.kind == RequestKind.ERASURE
    steps = [
        StoredStep(
            id=uuid4(),
            request_id=request.id,
            system=system.name,
            position=system.position,
            phase=Phase.LOCATE,
            # Without a search, the step waits for its plan like one whose search has ended.
            state=StepState.DUE if searches and system.searches_first else StepState.WAITING,
            located=not (searches and system.searches_first),
            plan_version=None,
            record_hashes=(),
            counts=None,
            version=0,
            entry_hash=None,
        )
        for system in systems
    ]
    return ResolvedRequest(request, steps, _change(request, cluster, steps))


def _change(request: PlannedRequest, cluster: Cluster, steps: Sequence[StoredStep]) -> Change:
    """Return the request's entry that lists its steps; their rows have no entry of their own for it."""
    data: dict[str, AuditValue] = {
        "identifiers": len(cluster.members),
        "excluded": len(cluster.excluded),
        "doubts": sorted({str(doubt["reason"]) for doubt in request.doubts}),
        "steps": [str(step.id) for step in steps],
        "systems": [step.system for step in steps],
    }
    if unsearched := [step.system for step in steps if step.located]:
        data["unsearched"] = unsearched
    return change_of(request, "request_settled", data)


def step_insert(
    request: PlannedRequest,
    step: StoredStep,
    *,
    phase: Phase = Phase.LOCATE,
    state: StepState,
    reason: str | None = None,
    due_at: datetime | None = None,
    waits_for_order: bool = False,
    plan_version: int | None = None,
) -> StepInsert:
    """Return the row of a new step with the state in which it is written."""
    return StepInsert(
        id=step.id,
        request_id=request.id,
        system=step.system,
        position=step.position,
        phase=phase,
        state=state,
        reason=reason,
        due_at=due_at,
        respond_by=request.respond_by,
        queue=request.fair_queue,
        located=step.located,
        waits_for_order=waits_for_order,
        plan_version=plan_version,
    )
