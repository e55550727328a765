"""Freeze requests' plans, let them start, and freeze again what later searches add; for many requests at once.

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
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.execution.states import StepState
from service.domain.requests.blast_radius import BlastRadius, BlastRadiusRules, needs_approval
from service.domain.requests.plan import PlannedSystem, plan_hash
from service.domain.requests.states import Progress, RequestState
from service.requests.locking import request_change
from service.requests.planning.create_steps import FirstPlace, OpenedStep, insert_steps
from service.requests.planning.reappearance_policy import reappearances_to_approve
from service.requests.planning.release import (
    PLANNED_COLUMNS,
    PROGRESS,
    PlannedStep,
    audit_data_of,
    audit_starts,
    start_steps,
    write_starts_of,
)
from service.requests.steps.schedule import enter_plan
from service.requests.steps.store import Start
from service.settings import Settings
from service.store.arrays import Packed, counted, listed
from service.store.audit_log.record_change import Change, change_rows
from service.store.execute import run
from service.store.locking import lock_steps


@dataclass(frozen=True)
class _Plan:
    """One request's next plan version."""

    request: Row[Any]
    version: int
    hash: str
    reasons: tuple[str, ...]
    identifiers: int
    steps: Sequence[PlannedStep]
    listed: int


@dataclass(frozen=True)
class Opening:
    """A locked request that is just being settled: its steps, which aren't written yet, and the entry about them."""

    request: Row[Any]
    steps: Sequence[OpenedStep]
    settled: Change


def freeze_plans(connection: Connection, settings: Settings, requests: Sequence[Row[Any]], now: datetime) -> None:
    """Freeze the next version of these requests' plans from what is settled and located; start those that need no
    approval.

    The identifiers go on the suppression list in the same transaction: a sync would else re-create the person.
    """
    if not requests:
        return
    steps = lock_steps(connection, [r.id for r in requests], PLANNED_COLUMNS)
    plans = _freeze(connection, settings, [(r, steps[r.id]) for r in requests], now)
    starts = _begin(connection, settings, plans, now)
    change_rows(
        connection,
        "request",
        f"plan_version = r.plan_version + 1, duty = NULL, due_at = NULL, doubts = '[]', reason = CASE"
        f" WHEN r.id = ANY(CAST(:unapproved AS uuid[])) THEN '{Progress.AWAITING_APPROVAL}' ELSE {PROGRESS} END",
        {"unapproved": _unapproved(plans)},
        [_frozen(plan, starts) for plan in plans],
        actor="worker",
        at=now,
    )
    write_starts_of(connection, {r.id: r for r in requests}, starts, actor="worker", at=now)
    _plan_steps(connection, plans, {each.step.id for own in starts.values() for each in own})


def freeze_at_once(connection: Connection, settings: Settings, openings: Sequence[Opening], now: datetime) -> None:
    """The same for requests that are being settled and have nothing to search; rows are written once for both."""
    plans = _freeze(connection, settings, [(o.request, o.steps) for o in openings], now)
    starts = _begin(connection, settings, plans, now)
    insert_steps(connection, _first_places(openings, plans, starts))
    settled = {o.request.id: o.settled for o in openings}
    change_rows(
        connection,
        "request",
        f"state = '{RequestState.IN_PROGRESS}', tries = 0, lease_until = NULL, located_until = :now,"
        " plan_version = r.plan_version + 1, duty = NULL, due_at = NULL, doubts = '[]', reason = CASE"
        f" WHEN r.id = ANY(CAST(:unapproved AS uuid[])) THEN '{Progress.AWAITING_APPROVAL}'"
        f" ELSE '{Progress.ERASING}' END",
        {"unapproved": _unapproved(plans), "now": now},
        [change for plan in plans for change in (settled[plan.request.id], _frozen(plan, starts))],
        actor="worker",
        at=now,
    )
    audit_starts(connection, {o.request.id: o.request for o in openings}, starts, actor="worker", at=now)


def _first_places(
    openings: Sequence[Opening], plans: Sequence[_Plan], starts: Mapping[UUID, Sequence[Start]]
) -> list[FirstPlace]:
    """Those that begin stand where they do; those of a plan that must be approved wait for it."""
    versions = {plan.request.id: plan.version for plan in plans}
    places = []
    for opening in openings:
        version = versions[opening.request.id]
        own = starts.get(opening.request.id)
        if own is None:
            places += [FirstPlace(step, step.phase, StepState.WAITING, plan_version=version) for step in opening.steps]
            continue
        # All of them wait for their plan until this moment, so that all of them begin.
        for step, at in zip(opening.steps, own, strict=True):
            to = at.to
            waits = bool(to.waits_for_order)
            places.append(FirstPlace(step, to.phase, to.state, to.reason, to.due_at, waits, version))
    return places


def _freeze(
    connection: Connection, settings: Settings, planned: Sequence[tuple[Row[Any], Sequence[PlannedStep]]], now: datetime
) -> list[_Plan]:
    """The plans of these requests and their steps, written, with their identifiers on the suppression list."""
    hashes, added = _plan_identifiers(connection, [request for request, _ in planned], now)
    connectors: dict[str, str] = dict(run(connection, "SELECT name, connector FROM systems").all())
    rules = _rules(settings)
    reappeared = reappearances_to_approve(
        connection, settings, [request.id for request, _ in planned if request.reappearance_of is not None]
    )
    plans = [
        _plan(rules, r, steps, hashes[r.id], connectors, added.get(r.id, 0), r.id in reappeared) for r, steps in planned
    ]
    _insert(connection, plans, now)
    return plans


def _begin(
    connection: Connection, settings: Settings, plans: Sequence[_Plan], now: datetime
) -> dict[UUID, list[Start]]:
    at_once = {plan.request.id: (plan.version, plan.steps) for plan in plans if not plan.reasons}
    return start_steps(connection, settings, at_once, now)


def _unapproved(plans: Sequence[_Plan]) -> str:
    return listed(plan.request.id for plan in plans if plan.reasons)


def _plan(
    rules: BlastRadiusRules,
    request: Row[Any],
    steps: Sequence[PlannedStep],
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


_INSERT = (
    "INSERT INTO plans (request_id, version, hash, frozen_at, approval_reasons)"
    " SELECT id, version, hash, :now, string_to_array(reasons, ',') FROM unnest(CAST(:ids AS uuid[]),"
    " CAST(:versions AS integer[]), CAST(:hashes AS text[]), CAST(:reasons AS text[]))"
    " AS n(id, version, hash, reasons)"
)


def _insert(connection: Connection, plans: Sequence[_Plan], now: datetime) -> None:
    run(
        connection,
        _INSERT,
        {
            "ids": listed(p.request.id for p in plans),
            "versions": counted(p.version for p in plans),
            "now": now,
            "hashes": Packed(p.hash for p in plans),
            "reasons": Packed(",".join(p.reasons) for p in plans),
        },
    )


def _plan_steps(connection: Connection, plans: Sequence[_Plan], starts: Set[UUID]) -> None:
    """Steps that are new to a plan and don't begin with it: nobody searched there yet, or it waits for its approval."""
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
        **audit_data_of(starts.get(plan.request.id, ())),
    )


# What was on the list before stays as it is: another version of the plan adds what is new in it.
_PLAN_IDENTIFIERS = (
    "WITH planned AS (UPDATE identifiers i SET use = 'planned', plan_version = n.version"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS n(id, version)"
    " WHERE i.request_id = n.id AND i.use = 'pending' RETURNING i.request_id, i.keyed_hash, i.kind),"
    " added AS (INSERT INTO suppression_entries (keyed_hash, request_id, kind, added_at)"
    " SELECT DISTINCT ON (request_id, keyed_hash) keyed_hash, request_id, kind, :now FROM planned"
    " ON CONFLICT (keyed_hash, request_id) DO NOTHING RETURNING request_id)"
    " SELECT request_id, keyed_hash FROM planned UNION ALL SELECT request_id, NULL FROM added"
)
_PLANNED_BEFORE = (
    "SELECT request_id, keyed_hash FROM identifiers WHERE request_id = ANY(CAST(:ids AS uuid[])) AND use = 'planned'"
)


def _plan_identifiers(
    connection: Connection, requests: Sequence[Row[Any]], now: datetime
) -> tuple[dict[UUID, frozenset[bytes]], Counter[UUID]]:
    """All that is settled belongs to the plan; what wasn't in an earlier version is of this one, and goes on the
    suppression list. Returns the keyed hashes in each plan, and how many of each request are new on the list."""
    hashes: dict[UUID, set[bytes]] = {request.id: set() for request in requests}
    before = [request.id for request in requests if request.plan_version]
    if before:
        for request_id, keyed_hash in run(connection, _PLANNED_BEFORE, {"ids": listed(before)}).all():
            hashes[request_id].add(keyed_hash)
    added: Counter[UUID] = Counter()
    versions = counted(request.plan_version + 1 for request in requests)
    values = {"ids": listed(hashes), "versions": versions, "now": now}
    for request_id, keyed_hash in run(connection, _PLAN_IDENTIFIERS, values).all():
        if keyed_hash is None:
            added[request_id] += 1
        else:
            hashes[request_id].add(keyed_hash)
    return {request_id: frozenset(own) for request_id, own in hashes.items()}, added


def _rules(settings: Settings) -> BlastRadiusRules:
    return BlastRadiusRules(
        max_identifiers=settings.approval.max_identifiers,
        max_records_per_system=settings.approval.max_records_per_system,
        max_records=settings.approval.max_records,
        always=settings.approval.always,
    )
