"""Freeze requests' plans, let them start, and freeze again what later searches add; for many requests at once.

Decides what belongs to a plan, whether a second person must approve it, and when each system's step begins. All of it
runs inside a transaction of the caller that has locked the requests. Every statement is one for all requests: a bulk
import freezes thousands of plans, and what a request costs here is what its rows cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.blast_radius import BlastRadius, BlastRadiusRules, needs_approval
from service.domain.plan import PlannedSystem, plan_hash
from service.domain.request import Progress
from service.settings import Settings
from service.storage.changes import Change, change_rows
from service.storage.packed import Packed
from service.storage.rows import lock_steps
from service.use_cases.lock_request import request_change
from service.use_cases.release_plan import PLANNED_COLUMNS, PROGRESS, Begun, begin_steps, released, write_begun


@dataclass(frozen=True)
class _Plan:
    """One request's next plan version."""

    request: Row[Any]
    version: int
    hash: str
    reasons: tuple[str, ...]
    identifiers: int
    steps: Sequence[Row[Any]]


def freeze_plans(connection: Connection, settings: Settings, requests: Sequence[Row[Any]], now: datetime) -> None:
    """Freeze the next version of these requests' plans from what is settled and located; start those that need no
    approval.

    The identifiers go on the suppression list in the same transaction: a sync would else re-create the person.
    """
    if not requests:
        return
    steps = lock_steps(connection, [r.id for r in requests], PLANNED_COLUMNS)
    hashes = _plan_identifiers(connection, requests)
    connectors: dict[str, str] = {
        row.name: row.connector for row in connection.execute(text("SELECT name, connector FROM systems"))
    }
    plans = [_plan(settings, r, steps[r.id], hashes[r.id], connectors) for r in requests]
    _insert(connection, plans, now)
    added = _suppress(connection, requests, now)
    at_once = {plan.request.id: (plan.version, plan.steps) for plan in plans if not plan.reasons}
    begun = begin_steps(connection, settings, at_once, now)
    _write_requests(connection, plans, added, begun, now)
    write_begun(connection, {r.id: r for r in requests}, begun, actor="worker", at=now)
    _plan_steps(connection, plans, {each.step.id for own in begun.values() for each in own})


def _plan(
    settings: Settings,
    request: Row[Any],
    steps: Sequence[Row[Any]],
    hashes: Sequence[bytes],
    connectors: Mapping[str, str],
) -> _Plan:
    version = request.plan_version + 1
    planned = [PlannedSystem(s.system, connectors[s.system], tuple(bytes(h) for h in s.record_hashes)) for s in steps]
    radius = BlastRadius(len(set(hashes)), {s.system: sum(s.counts.values()) for s in steps})
    return _Plan(
        request=request,
        version=version,
        hash=plan_hash(request.subject, version, hashes, planned),
        reasons=tuple(needs_approval(radius, _rules(settings))),
        identifiers=len(set(hashes)),
        steps=steps,
    )


def _insert(connection: Connection, plans: Sequence[_Plan], now: datetime) -> None:
    connection.execute(
        text(
            "INSERT INTO plans (request_id, version, hash, frozen_at, approval_reasons)"
            " SELECT id, version, hash, :now, string_to_array(reasons, ',') FROM unnest(CAST(:ids AS uuid[]),"
            " CAST(:versions AS integer[]), CAST(:hashes AS text[]), CAST(:reasons AS text[]))"
            " AS n(id, version, hash, reasons)"
        ),
        {
            "ids": [p.request.id for p in plans],
            "versions": [p.version for p in plans],
            "now": now,
            "hashes": Packed(p.hash for p in plans),
            "reasons": Packed(",".join(p.reasons) for p in plans),
        },
    )


def _write_requests(
    connection: Connection,
    plans: Sequence[_Plan],
    added: Mapping[UUID, int],
    begun: Mapping[UUID, Sequence[Begun]],
    now: datetime,
) -> None:
    """Which version each request is in and what it waits for, together with the entries about plan, list and begin."""
    changes = []
    for plan in plans:
        changes.append(_frozen(plan))
        if added.get(plan.request.id):
            changes.append(request_change(plan.request, "suppression_added", entries=added[plan.request.id]))
        changes += released(plan.request, begun.get(plan.request.id, ()))
    change_rows(
        connection,
        "request",
        f"plan_version = r.plan_version + 1, duty = NULL, due_at = NULL, doubts = '[]', reason = CASE"
        f" WHEN r.id = ANY(CAST(:unapproved AS uuid[])) THEN '{Progress.AWAITING_APPROVAL}' ELSE {PROGRESS} END",
        {"unapproved": [plan.request.id for plan in plans if plan.reasons]},
        changes,
        actor="worker",
        at=now,
    )


def _plan_steps(connection: Connection, plans: Sequence[_Plan], begun: Set[UUID]) -> None:
    """Steps that are new to a plan and don't begin with it: nobody searched there yet, or it waits for its approval."""
    rows = [(s.id, p.version) for p in plans for s in p.steps if s.plan_version is None and s.id not in begun]
    if rows:
        connection.execute(
            text(
                "UPDATE steps s SET plan_version = n.version"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS n(id, version) WHERE s.id = n.id"
            ),
            {"ids": [step_id for step_id, _ in rows], "versions": [version for _, version in rows]},
        )


def _frozen(plan: _Plan) -> Change:
    return request_change(
        plan.request,
        "plan_frozen",
        plan=plan.version,
        plan_hash=plan.hash,
        identifiers=plan.identifiers,
        records=sum(len(s.record_hashes) for s in plan.steps),
        systems=[s.system for s in plan.steps],
        needs_approval=list(plan.reasons),
    )


def _plan_identifiers(connection: Connection, requests: Sequence[Row[Any]]) -> dict[UUID, list[bytes]]:
    """All that is settled belongs to the plan; what wasn't in an earlier version is of this one."""
    ids = [r.id for r in requests]
    connection.execute(
        text(
            "UPDATE identifiers i SET use = 'planned', plan_version = n.version"
            " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS n(id, version)"
            " WHERE i.request_id = n.id AND i.use = 'pending'"
        ),
        {"ids": ids, "versions": [r.plan_version + 1 for r in requests]},
    )
    rows = connection.execute(
        text(
            "SELECT request_id, keyed_hash FROM identifiers"
            " WHERE request_id = ANY(CAST(:ids AS uuid[])) AND use = 'planned'"
        ),
        {"ids": ids},
    )
    hashes: dict[UUID, list[bytes]] = {request_id: [] for request_id in ids}
    for row in rows:
        hashes[row.request_id].append(bytes(row.keyed_hash))
    return hashes


def _rules(settings: Settings) -> BlastRadiusRules:
    return BlastRadiusRules(
        max_identifiers=settings.approval.max_identifiers,
        max_records_per_system=settings.approval.max_records_per_system,
        max_records=settings.approval.max_records,
        always=settings.approval.always,
    )


def _suppress(connection: Connection, requests: Sequence[Row[Any]], now: datetime) -> dict[UUID, int]:
    """How many entries of each request are new on the suppression list."""
    rows = connection.execute(
        text(
            "WITH added AS (INSERT INTO suppression_entries (keyed_hash, request_id, kind, pepper_version, added_at)"
            " SELECT DISTINCT ON (request_id, keyed_hash) keyed_hash, request_id, kind, pepper_version, :now"
            " FROM identifiers WHERE request_id = ANY(CAST(:ids AS uuid[])) AND use = 'planned'"
            " ON CONFLICT (keyed_hash, request_id) DO NOTHING RETURNING request_id)"
            " SELECT request_id, count(*) AS entries FROM added GROUP BY request_id"
        ),
        {"ids": [r.id for r in requests], "now": now},
    )
    return {row.request_id: row.entries for row in rows}
