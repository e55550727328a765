"""Look at requests whose steps moved on, and take what follows: freeze, let later systems begin, answer, plan sealing.

Decides from the rows as they are, never from what a message said, so looking twice is harmless. "Every step ended" is a
predicate over rows; no callback of any queue can lose it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.outcomes import ENDED, Phase, StepState
from service.domain.request import WITHDRAWN_STATES, Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, log_changes
from service.storage.rows import check_again, database_now, lock_request, lock_steps, version_of
from service.storage.stores import Stores
from service.use_cases.freeze_plan import freeze_plan

_FINISHED = frozenset({RequestState.FULFILLED, *WITHDRAWN_STATES, RequestState.EXPIRED})


def advance_requests(stores: Stores, settings: Settings, *, limit: int = 100) -> int:
    """Advance the requests that somebody asked to be looked at, and those whose patience for searches is over.

    Each request is one transaction; the asking is deleted in it. Returns how many were looked at.
    """
    with stores.engine.begin() as connection:
        asked = connection.execute(
            text("SELECT DISTINCT request_id FROM (SELECT request_id FROM request_checks ORDER BY id LIMIT :n) AS c"),
            {"n": limit * 10},
        )
        ids = [row.request_id for row in asked]
        due = connection.execute(
            text(
                "SELECT id FROM requests WHERE duty = 'freeze' AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :n"
            ),
            {"n": limit},
        )
        ids += [row.id for row in due if row.id not in set(ids)]
    for request_id in ids[:limit]:
        with stores.engine.begin() as connection:
            _advance(connection, stores, settings, request_id)
    return len(ids[:limit])


def _advance(connection: Connection, stores: Stores, settings: Settings, request_id: UUID) -> None:
    # Deleted before the rows are read: whatever is committed after this asks anew.
    connection.execute(text("DELETE FROM request_checks WHERE request_id = :id"), {"id": request_id})
    request = lock_request(connection, request_id)
    steps = lock_steps(connection, [request_id])[request_id]
    now = database_now(connection)
    if request.duty == Duty.FREEZE and (request.due_at <= now or not _still_searching(steps)):
        freeze_plan(connection, stores, settings, request, now)
        return
    if request.plan_version == 0 and not _is_finished(request):
        return
    _let_later_systems_begin(connection, steps, now)
    if request.state == RequestState.IN_PROGRESS and _is_answerable(request, steps):
        _answer(connection, request, now)
        request = lock_request(connection, request_id)
    if _is_finished(request):
        _free_or_answer_linked(connection, request, now)
        if request.duty is None and request.sealed_at is None and all(s.state in ENDED for s in steps):
            connection.execute(
                text("UPDATE requests SET duty = :duty, due_at = :due, lease_until = NULL WHERE id = :id"),
                {"duty": Duty.SEAL, "due": now + settings.seconds("key_retention"), "id": request_id},
            )


def _is_finished(request: Row[Any]) -> bool:
    return request.state in _FINISHED


def _still_searching(steps: list[Row[Any]]) -> bool:
    """Parked searches don't hold up the others: their step stays in the plan and goes on when a human acted."""
    done = ENDED | {StepState.PARKED}
    return any(s.phase == Phase.LOCATE and not s.located and s.state not in done for s in steps)


def _is_answerable(request: Row[Any], steps: list[Row[Any]]) -> bool:
    if request.reason not in (Progress.ERASING, Progress.LOCATING):
        return False
    return all(s.state in ENDED or s.state == StepState.ACCEPTED for s in steps)


def _let_later_systems_begin(connection: Connection, steps: list[Row[Any]], now: datetime) -> None:
    """A later system waits until all earlier ones have had their effect; then it begins at once."""
    busy = [s.position for s in steps if s.state not in ENDED and s.phase != Phase.CONFIRM]
    first_busy = min(busy, default=None)
    ready = [
        s.id
        for s in steps
        if s.state == StepState.DUE
        and s.waits_for_order
        and s.due_at > now
        and (first_busy is None or s.position <= first_busy)
    ]
    if ready:
        connection.execute(
            text("UPDATE steps SET due_at = :now, waits_for_order = false WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"now": now, "ids": ready},
        )


def _answer(connection: Connection, request: Row[Any], now: datetime) -> None:
    connection.execute(
        text("UPDATE requests SET state = :state, reason = NULL, answered_at = :now WHERE id = :id"),
        {"state": RequestState.FULFILLED, "now": now, "id": request.id},
    )
    fresh = lock_request(connection, request.id)
    change = Change("request", str(request.id), version_of(fresh), "request_fulfilled", request.subject, {})
    log_changes(connection, [change], actor="worker", at=now)


def _free_or_answer_linked(connection: Connection, request: Row[Any], now: datetime) -> None:
    """Requests linked to this one share its good end; if it was withdrawn, they go their own way: nothing is lost."""
    linked = connection.execute(
        text(
            "SELECT * FROM requests WHERE linked_to = :id AND state = 'in_progress' AND reason = 'linked'"
            " ORDER BY id FOR UPDATE"
        ),
        {"id": request.id},
    ).all()
    fulfilled = request.state == RequestState.FULFILLED
    changes = []
    for row in linked:
        connection.execute(
            text(
                "UPDATE requests SET state = :state, reason = NULL, answered_at = :answered, duty = :duty,"
                " due_at = :due, linked_to = CASE WHEN :fulfilled THEN linked_to END WHERE id = :id"
            ),
            {
                "state": RequestState.FULFILLED if fulfilled else RequestState.OPEN,
                "answered": now if fulfilled else None,
                "duty": None if fulfilled else Duty.IDENTIFY,
                "due": None if fulfilled else now,
                "fulfilled": fulfilled,
                "id": row.id,
            },
        )
        event = "request_fulfilled" if fulfilled else "request_resumed"
        changes.append(Change("request", str(row.id), version_of(row), event, row.subject, {}))
    if changes:
        log_changes(connection, changes, actor="worker", at=now)
        check_again(connection, [row.id for row in linked])
