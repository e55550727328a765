"""Deny or revoke a request: nothing more begins, and what may have happened already is still looked at.

Decides what becomes of each step, of the suppression entries, and of requests that were linked to this one: those are
opened again, since nothing accepted is lost. A leased step is left to the engine, which asks before each effect and
ends the step on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.outcomes import ENDED, WITHDRAWN, Phase, StepState
from service.domain.refusals import NotFound, WrongState
from service.domain.request import UNFINISHED, DenialReason, Duty, RequestState
from service.storage.changes import Change, log_changes
from service.storage.rows import check_again, database_now, lock_steps
from service.storage.stores import Stores
from service.use_cases.lock_request import lock_requests, request_change, step_change


def deny_request(stores: Stores, request_id: UUID, *, reason: DenialReason, actor: str) -> None:
    """Refuse a request, with the reason that the requester is told. Raises NotFound, WrongState."""
    _withdraw(stores, request_id, RequestState.DENIED, reason, actor)


def revoke_request(stores: Stores, request_id: UUID, *, actor: str) -> None:
    """The requester took the request back. Raises NotFound, WrongState."""
    _withdraw(stores, request_id, RequestState.REVOKED, None, actor)


def _withdraw(stores: Stores, request_id: UUID, state: RequestState, reason: DenialReason | None, actor: str) -> None:
    with stores.engine.begin() as connection:
        rows = _lock_with_followers(connection, request_id)
        row = rows.pop(request_id, None)
        if row is None:
            raise NotFound("there is no such request")
        if row.state not in UNFINISHED:
            raise WrongState("the request has ended already")
        now = database_now(connection)
        connection.execute(
            text(
                "UPDATE requests SET state = :state, reason = :reason, duty = NULL, due_at = NULL, lease_until = NULL,"
                " fence = fence + 1, answered_at = :now WHERE id = :id"
            ),
            {"state": state, "reason": reason, "now": now, "id": request_id},
        )
        event = "request_denied" if state is RequestState.DENIED else "request_revoked"
        changes = [request_change(row, event, **({} if reason is None else {"reason": reason.value}))]
        removed = _lift_suppression(connection, request_id, now)
        if removed:
            changes.append(request_change(row, "suppression_removed", entries=removed, reason=WITHDRAWN))
        changes += _stop_steps(connection, lock_steps(connection, [request_id])[request_id], row.subject, now)
        changes += _free(connection, list(rows.values()), now)
        log_changes(connection, changes, actor=actor, at=now)
        check_again(connection, [request_id])


def _lock_with_followers(connection: Connection, request_id: UUID) -> dict[UUID, Row[Any]]:
    """The request and those linked to it. Twice: one may be linked while the first look waits for a lock."""
    rows: dict[UUID, Row[Any]] = {}
    for _ in range(2):
        ids = connection.execute(text("SELECT id FROM requests WHERE linked_to = :id"), {"id": request_id}).scalars()
        rows = lock_requests(connection, [request_id, *ids])
    return {i: row for i, row in rows.items() if i == request_id or row.linked_to == request_id}


def _lift_suppression(connection: Connection, request_id: UUID, now: datetime) -> int:
    return connection.execute(
        text("UPDATE suppression_entries SET removed_at = :now WHERE request_id = :id AND removed_at IS NULL"),
        {"now": now, "id": request_id},
    ).rowcount


def _stop_steps(connection: Connection, steps: Sequence[Row[Any]], subject: str, now: datetime) -> list[Change]:
    changes: list[Change] = []
    ended: list[UUID] = []
    to_look_at: list[UUID] = []
    for step in steps:
        if step.state in ENDED or step.state in (StepState.LEASED, StepState.ACCEPTED):
            continue
        if step.effect_possible:
            to_look_at.append(step.id)
            changes.append(
                step_change(step, subject, "step_due", phase=Phase.CONFIRM, state=StepState.DUE, reason=WITHDRAWN)
            )
        else:
            ended.append(step.id)
            changes.append(
                step_change(
                    step,
                    subject,
                    "step_ended",
                    phase=step.phase,
                    state=StepState.RETAINED,
                    outcome=StepState.RETAINED,
                    reason=WITHDRAWN,
                )
            )
    connection.execute(
        text(
            "UPDATE steps SET state = :state, reason = :reason, ended_at = :now, due_at = NULL, batch_id = NULL"
            " WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"state": StepState.RETAINED, "reason": WITHDRAWN, "now": now, "ids": ended},
    )
    connection.execute(
        text(
            "UPDATE steps SET state = :state, phase = :phase, reason = :reason, due_at = :now, tries = 0,"
            " batch_id = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {
            "state": StepState.DUE,
            "phase": Phase.CONFIRM,
            "reason": WITHDRAWN,
            "now": now,
            "ids": to_look_at,
        },
    )
    return changes


def _free(connection: Connection, followers: Sequence[Row[Any]], now: datetime) -> list[Change]:
    """Requests that waited for this one are settled on their own."""
    waiting = [row for row in followers if row.state in UNFINISHED]
    connection.execute(
        text(
            "UPDATE requests SET state = :state, reason = NULL, linked_to = NULL, duty = :duty, due_at = :now,"
            " tries = 0, lease_until = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"state": RequestState.OPEN, "duty": Duty.IDENTIFY, "now": now, "ids": [row.id for row in waiting]},
    )
    return [request_change(row, "request_resumed", reason="unlinked") for row in waiting]
