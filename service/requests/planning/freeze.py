"""Freeze the plans of many requests at once, start their steps, and freeze again after later finds.

Decides what belongs to a plan, whether a second person must approve it, and when each system's step begins. All of it
runs inside a transaction of the caller that has locked the requests. Every statement is one for all requests: a bulk
import freezes thousands of plans, and what a request costs here is what its rows cost. A request without anything to
search is frozen as it is settled, and its steps are written where they begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import StepState
from service.domain.requests.blast_radius import BlastRadius, BlastRadiusRules, needs_approval
from service.domain.requests.plan import PlannedSystem, plan_hash
from service.domain.requests.states import RequestKind
from service.requests.identity.store import plan_identifiers, planned_hashes
from service.requests.planning.create_steps import ResolvedRequest, step_insert
from service.requests.planning.reappearance_policy import reappearances_to_approve
from service.requests.planning.release import audit_data_of, audit_starts, opting_out, start_steps, write_starts_of
from service.requests.planning.store import (
    NewPlan,
    StepInsert,
    StoredStep,
    connectors_of_systems,
    insert_plans,
    insert_steps,
    lock_plan_steps,
)
from service.requests.records.changes import enter_first_plan, enter_plan_version
from service.requests.records.rows import PlannedRequest, request_change
from service.requests.steps.schedule import enter_plan
from service.requests.steps.starts import Start
from service.settings import Settings
from service.store.audit_log.record_change import Change


@dataclass(frozen=True)
class _Plan:
    """One request's next plan version."""

    request: PlannedRequest
    version: int
    hash: str
    reasons: tuple[str, ...]
    identifiers: int
    steps: Sequence[StoredStep]
    listed: int


def freeze_plans(connection: Connection, settings: Settings, requests: Sequence[PlannedRequest], now: datetime) -> None:
    """Freeze the next version of these requests' plans, and start those that need no approval.

    The identifiers go on the suppression list in the same transaction, because a sync would re-create the person.
    """
    if not requests:
        return
    steps = lock_plan_steps(connection, [r.id for r in requests])
    plans = _freeze(connection, settings, [(r, steps[r.id]) for r in requests], now)
    starts = _begin(connection, settings, plans, now)
    changes = [_frozen(plan, starts) for plan in plans]
    enter_plan_version(connection, changes, unapproved=_unapproved(plans), actor="worker", at=now)
    write_starts_of(connection, {r.id: r for r in requests}, starts, actor="worker", at=now)
    _plan_steps(connection, plans, {each.step.id for own in starts.values() for each in own})


def freeze_without_search(
    connection: Connection, settings: Settings, resolved: Sequence[ResolvedRequest], now: datetime
) -> None:
    """Freeze the first plans of requests that need no search, and write their steps where they begin."""
    plans = _freeze(connection, settings, [(each.request, each.steps) for each in resolved], now)
    starts = _begin(connection, settings, plans, now)
    insert_steps(connection, _first_rows(resolved, plans, starts))
    of_request = {each.request.id: each.change for each in resolved}
    changes = [change for plan in plans for change in (of_request[plan.request.id], _frozen(plan, starts))]
    enter_first_plan(connection, changes, unapproved=_unapproved(plans), actor="worker", at=now)
    audit_starts(connection, {each.request.id: each.request for each in resolved}, starts, actor="worker", at=now)


def _first_rows(
    resolved: Sequence[ResolvedRequest], plans: Sequence[_Plan], starts: Mapping[UUID, Sequence[Start]]
) -> list[StepInsert]:
    """Return started steps, and waiting ones where the plan needs an approval."""
    versions = {plan.request.id: plan.version for plan in plans}
    rows = []
    for each in resolved:
        request, version = each.request, versions[each.request.id]
        own = starts.get(request.id)
        if own is None:
            rows += [step_insert(request, step, state=StepState.WAITING, plan_version=version) for step in each.steps]
            continue
        # Every step waited for its plan until now, so that every step starts.
        for step, start in zip(each.steps, own, strict=True):
            to = start.to
            rows.append(
                step_insert(
                    request,
                    step,
                    phase=to.phase,
                    state=to.state,
                    reason=to.reason,
                    due_at=to.due_at,
                    waits_for_order=bool(to.waits_for_order),
                    plan_version=version,
                )
            )
    return rows


def _freeze(
    connection: Connection,
    settings: Settings,
    planned: Sequence[tuple[PlannedRequest, Sequence[StoredStep]]],
    now: datetime,
) -> list[_Plan]:
    """Write the plans of these requests, their steps, and their identifiers on the suppression list."""
    hashes, added = _plan_identifiers(connection, [request for request, _ in planned], now)
    connectors = connectors_of_systems(connection)
    rules = _rules(settings)
    reappeared = reappearances_to_approve(
        connection, settings, [request.id for request, _ in planned if request.reappearance_of is not None]
    )
    plans = [
        _plan(rules, r, steps, hashes[r.id], connectors, added.get(r.id, 0), r.id in reappeared) for r, steps in planned
    ]
    insert_plans(connection, [NewPlan(each.request.id, each.version, each.hash, each.reasons) for each in plans], now)
    return plans


def _begin(
    connection: Connection, settings: Settings, plans: Sequence[_Plan], now: datetime
) -> dict[UUID, list[Start]]:
    at_once = {plan.request.id: (plan.version, plan.steps) for plan in plans if not plan.reasons}
    return start_steps(connection, settings, at_once, now, opting_out=opting_out(plan.request for plan in plans))


def _unapproved(plans: Sequence[_Plan]) -> list[UUID]:
    return [plan.request.id for plan in plans if plan.reasons]


def _plan(
    rules: BlastRadiusRules,
    request: PlannedRequest,
    steps: Sequence[StoredStep],
    hashes: frozenset[bytes],
    connectors: Mapping[str, str],
    added: int,
    reappeared: bool,
) -> _Plan:
    version = request.plan_version + 1
    planned = [PlannedSystem(s.system, connectors[s.system], tuple(s.record_hashes)) for s in steps]
    radius = BlastRadius(len(hashes), {s.system: sum(s.counts.values()) for s in steps if s.counts})
    return _Plan(
        request=request,
        version=version,
        hash=plan_hash(request.subject, version, hashes, planned),
        reasons=needs_approval(radius, rules, reappeared=reappeared, kept=request.second_person_for),
        identifiers=len(hashes),
        steps=steps,
        listed=added,
    )


def _plan_steps(connection: Connection, plans: Sequence[_Plan], starts: Set[UUID]) -> None:
    """Write the plan's version to the steps that are new to a plan and don't start with it.

    Such a step wasn't searched yet, or its plan waits for approval.
    """
    rows = [(s.id, p.version) for p in plans for s in p.steps if s.plan_version is None and s.id not in starts]
    enter_plan(connection, dict(rows))


def _frozen(plan: _Plan, starts: Mapping[UUID, Sequence[Start]]) -> Change:
    """The request's entry about plan, list and begin."""
    return request_change(
        plan.request,
        "plan_frozen",
        plan=plan.version,
        plan_hash=plan.hash,
        identifiers=plan.identifiers,
        records=sum(len(s.record_hashes) for s in plan.steps),
        systems=[s.system for s in plan.steps],
        needs_approval=list(plan.reasons),
        suppressed=plan.listed,
        **({"scopes": list(plan.request.scopes)} if plan.request.kind == RequestKind.SUPPRESSION else {}),
        **audit_data_of(starts.get(plan.request.id, ())),
    )


def _plan_identifiers(
    connection: Connection, requests: Sequence[PlannedRequest], now: datetime
) -> tuple[dict[UUID, frozenset[bytes]], Counter[UUID]]:
    """Add all settled identifiers to the plan, and the new ones to the suppression list.

    An identifier is new if no earlier version of the plan has it. Returns the keyed hashes in each plan, and how many
    identifiers of each request are new on the list.
    """
    hashes: dict[UUID, set[bytes]] = {request.id: set() for request in requests}
    for request_id, keyed_hash in planned_hashes(connection, [r.id for r in requests if r.plan_version]):
        hashes[request_id].add(keyed_hash)
    versions = {r.id: r.plan_version + 1 for r in requests}
    planned, added = plan_identifiers(connection, versions, [r.scopes for r in requests], now)
    for request_id, keyed_hash in planned:
        hashes[request_id].add(keyed_hash)
    return {request_id: frozenset(own) for request_id, own in hashes.items()}, added


def _rules(settings: Settings) -> BlastRadiusRules:
    return BlastRadiusRules(
        max_identifiers=settings.approval.max_identifiers,
        max_records_per_system=settings.approval.max_records_per_system,
        max_records=settings.approval.max_records,
        always=settings.approval.always,
    )
