"""Freeze a request's plan, let it start, and freeze again what later searches add.

Decides what belongs to a plan, whether a second person must approve it, and when each system's step begins. All three
run inside a transaction of the caller that has locked the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from service.domain.blast_radius import BlastRadius, BlastRadiusRules, needs_approval
from service.domain.outcomes import ENDED, LEGAL_HOLD, SYSTEM_REMOVED, Phase, StepState, first_phase
from service.domain.plan import PlannedSystem, plan_hash
from service.domain.request import Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, Version, log_changes
from service.storage.holds import held_requests
from service.storage.rows import check_again, lock_steps, version_of
from service.storage.stores import Stores
from service.use_cases.move_steps import move_steps
from service.use_cases.system_rules import rules_of


def freeze_plan(connection: Connection, stores: Stores, settings: Settings, request: Row[Any], now: datetime) -> None:
    """Freeze the next version of the plan from what is settled and located, and start it unless approval is needed.

    The identifiers go on the suppression list in the same transaction: a sync would else re-create the person.
    """
    steps = lock_steps(connection, [request.id])[request.id]
    hashes = _plan_identifiers(connection, request)
    version = request.plan_version + 1
    digest = plan_hash(request.subject, version, hashes, _planned(connection, steps))
    reasons = list(
        needs_approval(
            BlastRadius(len(set(hashes)), {s.system: sum(s.counts.values()) for s in steps}), _rules(settings)
        )
    )
    connection.execute(
        text(
            "INSERT INTO plans (request_id, version, hash, frozen_at, approval_reasons)"
            " VALUES (:id, :version, :hash, :now, CAST(:reasons AS text[]))"
        ),
        {"id": request.id, "version": version, "hash": digest, "now": now, "reasons": reasons},
    )
    connection.execute(
        text("UPDATE steps SET plan_version = :v WHERE request_id = :id AND plan_version IS NULL"),
        {"v": version, "id": request.id},
    )
    progress = Progress.AWAITING_APPROVAL if reasons else _progress(request)
    connection.execute(
        text(
            "UPDATE requests SET plan_version = :v, reason = :reason, duty = NULL, due_at = NULL, doubts = '[]'"
            " WHERE id = :id"
        ),
        {"v": version, "reason": progress, "id": request.id},
    )
    log_changes(
        connection,
        [
            Change(
                "request",
                str(request.id),
                version_of(request),
                "plan_frozen",
                request.subject,
                {
                    "plan": version,
                    "plan_hash": digest,
                    "identifiers": len(set(hashes)),
                    "records": sum(len(s.record_hashes) for s in steps),
                    "systems": [s.system for s in steps],
                    "needs_approval": reasons,
                },
            )
        ],
        actor="worker",
        at=now,
    )
    _suppress(connection, request, now)
    if not reasons:
        release_plan(connection, stores, settings, request, now)


def release_plan(connection: Connection, stores: Stores, settings: Settings, request: Row[Any], now: datetime) -> None:
    """Let the frozen plan's steps begin: at once in the first position, the later ones after them or their patience.

    Held requests' steps park. A step that hasn't been searched yet goes on searching and follows by itself.
    """
    steps = lock_steps(connection, [request.id])[request.id]
    held = request.id in held_requests(connection, [request.id])
    unfinished = [s.position for s in steps if s.state not in ENDED]
    first = min(unfinished, default=0)
    changes: list[Change] = []
    updates: list[dict[str, Any]] = []
    for step in steps:
        if step.state != StepState.WAITING or not step.located:
            continue
        update = _begin(settings, step, held=held)
        if update["state"] == StepState.DUE:
            update["waits_for_order"] = step.position > first
            update["due_at"] = now + settings.seconds("order_patience") if update["waits_for_order"] else now
        updates.append(update)
        data = {"phase": update["phase"], "state": update["state"], "reason": update["reason"]}
        changes.append(Change("step", str(step.id), version_of(step), "step_released", request.subject, data))
    move_steps(connection, updates)
    log_changes(connection, changes, actor="worker", at=now)
    connection.execute(
        text("UPDATE requests SET reason = :r WHERE id = :id"), {"r": _progress(request), "id": request.id}
    )
    check_again(connection, [request.id])


def _progress(request: Row[Any]) -> Progress | None:
    """A request that was answered already, since every step had been accepted, stays answered while more is done."""
    return Progress.ERASING if request.state == RequestState.IN_PROGRESS else None


def _begin(settings: Settings, step: Row[Any], *, held: bool) -> dict[str, Any]:
    update: dict[str, Any] = {"id": step.id, "phase": step.phase, "state": StepState.PARKED, "due_at": None}
    try:
        rules = rules_of(settings, step.system)
    except KeyError:
        return update | {"reason": SYSTEM_REMOVED}
    found = bool(step.record_hashes) or any(step.counts.values())
    phase = first_phase(rules, found=found)
    if held and phase is not Phase.CONFIRM:
        return update | {"phase": phase, "reason": LEGAL_HOLD}
    return update | {"phase": phase, "state": StepState.DUE, "reason": None}


def _plan_identifiers(connection: Connection, request: Row[Any]) -> list[bytes]:
    connection.execute(
        text("UPDATE identifiers SET use = 'planned', plan_version = :v WHERE request_id = :id AND use = 'pending'"),
        {"v": request.plan_version + 1, "id": request.id},
    )
    rows = connection.execute(
        text("SELECT keyed_hash FROM identifiers WHERE request_id = :id AND use = 'planned'"), {"id": request.id}
    )
    return [bytes(row[0]) for row in rows]


def _planned(connection: Connection, steps: Sequence[Row[Any]]) -> list[PlannedSystem]:
    connectors: dict[str, str] = {
        row.name: row.connector for row in connection.execute(text("SELECT name, connector FROM systems"))
    }
    return [PlannedSystem(s.system, connectors[s.system], tuple(bytes(h) for h in s.record_hashes)) for s in steps]


def _rules(settings: Settings) -> BlastRadiusRules:
    return BlastRadiusRules(
        max_identifiers=settings.approval.max_identifiers,
        max_records_per_system=settings.approval.max_records_per_system,
        max_records=settings.approval.max_records,
        always=settings.approval.always,
    )


def _suppress(connection: Connection, request: Row[Any], now: datetime) -> None:
    added = connection.execute(
        text(
            "INSERT INTO suppression_entries (keyed_hash, request_id, kind, pepper_version, added_at)"
            " SELECT DISTINCT ON (keyed_hash) keyed_hash, request_id, kind, pepper_version, :now FROM identifiers"
            " WHERE request_id = :id AND use = 'planned' ON CONFLICT (keyed_hash, request_id) DO NOTHING"
        ),
        {"id": request.id, "now": now},
    ).rowcount
    if added:
        row = connection.execute(
            text("SELECT version, entry_hash FROM requests WHERE id = :id"), {"id": request.id}
        ).one()
        change = Change(
            "request",
            str(request.id),
            Version(row.version, bytes(row.entry_hash)),
            "suppression_added",
            request.subject,
            {"entries": added},
        )
        log_changes(connection, [change], actor="worker", at=now)
