"""Look at requests whose steps moved on, and take what follows: freeze, let later systems begin, answer, plan sealing.

Decides from the rows as they are, never from what a message said, so looking twice is harmless. "Every step ended" is a
predicate over rows; no callback of any queue can lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from service.domain.outcomes import EARLIER_SYSTEM, ENDED, Phase, StepState
from service.domain.request import WITHDRAWN_STATES, Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, change_rows, log_changes
from service.storage.rows import check_again, database_now, lock_steps, version_of
from service.storage.stores import Stores
from service.use_cases.freeze_plan import freeze_plans
from service.use_cases.lock_request import lock_requests, request_change

log = structlog.get_logger(__name__)

_FINISHED = frozenset({RequestState.FULFILLED, *WITHDRAWN_STATES, RequestState.EXPIRED})


def advance_requests(stores: Stores, settings: Settings, *, limit: int = 100) -> int:
    """Advance the requests that somebody asked to be looked at, and those whose patience for searches is over.

    One transaction for all of them, with one statement for each kind of thing that follows; the asking is deleted in
    it. If one of them can't be advanced, they are taken one by one, so that it alone stays where it is. Returns how
    many were looked at with success.
    """
    with stores.engine.begin() as connection:
        ids = _asked_for(connection, limit)
    if not ids:
        return 0
    try:
        with stores.engine.begin() as connection:
            _advance(connection, settings, ids)
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.warning("requests_not_advanced_together", requests=len(ids), error=type(error).__name__)
        return sum(_advance_alone(stores, settings, request_id) for request_id in ids)
    return len(ids)


def _asked_for(connection: Connection, limit: int) -> list[UUID]:
    asked = connection.execute(
        text("SELECT request_id FROM request_checks ORDER BY id LIMIT :n"), {"n": limit * 10}
    ).scalars()
    due = connection.execute(
        text("SELECT id FROM requests WHERE duty = 'freeze' AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :n"),
        {"n": limit},
    ).scalars()
    return list(dict.fromkeys([*asked, *due]))[:limit]


def _advance_alone(stores: Stores, settings: Settings, request_id: UUID) -> bool:
    try:
        with stores.engine.begin() as connection:
            _advance(connection, settings, [request_id])
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.exception("request_not_advanced", request=str(request_id), error=type(error).__name__)
        with stores.engine.begin() as connection:
            # To the end of the queue: the others must not wait behind it.
            lock_requests(connection, [request_id])
            connection.execute(text("DELETE FROM request_checks WHERE request_id = :id"), {"id": request_id})
            check_again(connection, [request_id])
        return False
    return True


def _advance(connection: Connection, settings: Settings, ids: Sequence[UUID]) -> None:
    # The requests first: a DELETE of many rows takes them in the order of its plan, and two that run at once could wait
    # in a circle. Before the steps are read: whatever is committed after this asks anew.
    locked = _lock_with_linked(connection, ids)
    connection.execute(
        text("DELETE FROM request_checks WHERE request_id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
    )
    requests = [locked[i] for i in ids]
    steps = lock_steps(connection, list(ids))
    now = database_now(connection)
    frozen = [r for r in requests if r.duty == Duty.FREEZE and (r.due_at <= now or not _still_searching(steps[r.id]))]
    freeze_plans(connection, settings, frozen, now)
    now_frozen = {r.id for r in frozen}
    planned = [r for r in requests if r.id not in now_frozen and (r.plan_version > 0 or _is_finished(r))]
    _let_later_systems_begin(connection, [steps[r.id] for r in planned], now)
    answered = _answer(connection, [r for r in planned if _is_answerable(r, steps[r.id])], now)
    finished = [answered.get(r.id, r) for r in planned if _is_finished(r) or r.id in answered]
    for request in _with_linked(connection, finished):
        _free_or_answer_linked(connection, request, now)
    ended = [r for r in finished if r.duty is None and r.sealed_at is None]
    _plan_sealing(connection, settings, [r for r in ended if all(s.state in ENDED for s in steps[r.id])], now)


def _lock_with_linked(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """The requests and those linked to them, in the order of everybody who locks several: by id."""
    linked = connection.execute(
        text("SELECT id FROM requests WHERE linked_to = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
    ).scalars()
    return lock_requests(connection, [*ids, *linked])


def _with_linked(connection: Connection, requests: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Those of the finished requests that others are linked to and wait for."""
    if not requests:
        return []
    found = connection.execute(
        text(
            "SELECT DISTINCT linked_to FROM requests WHERE linked_to = ANY(CAST(:ids AS uuid[]))"
            " AND state = 'in_progress' AND reason = 'linked'"
        ),
        {"ids": [r.id for r in requests]},
    )
    waited_for = set(found.scalars())
    return [r for r in requests if r.id in waited_for]


def _plan_sealing(connection: Connection, settings: Settings, requests: Sequence[Row[Any]], now: datetime) -> None:
    if requests:
        connection.execute(
            text(
                "UPDATE requests SET duty = :duty, due_at = :due, lease_until = NULL"
                " WHERE id = ANY(CAST(:ids AS uuid[]))"
            ),
            {"duty": Duty.SEAL, "due": now + settings.seconds("key_retention"), "ids": [r.id for r in requests]},
        )


def _is_finished(request: Row[Any]) -> bool:
    return request.state in _FINISHED


def _still_searching(steps: Sequence[Row[Any]]) -> bool:
    """Parked searches don't hold up the others: their step stays in the plan and goes on when a human acted."""
    done = ENDED | {StepState.PARKED}
    return any(s.phase == Phase.LOCATE and not s.located and s.state not in done for s in steps)


def _is_answerable(request: Row[Any], steps: Sequence[Row[Any]]) -> bool:
    if request.state != RequestState.IN_PROGRESS or request.reason not in (Progress.ERASING, Progress.LOCATING):
        return False
    return bool(steps) and all(s.state in ENDED or _is_accepted_whole(s) for s in steps)


def _is_accepted_whole(step: Row[Any]) -> bool:
    """The vendor will do it and only a look is owed. While one job of several runs, the next hasn't even begun."""
    return bool(step.state == StepState.ACCEPTED and step.phase == Phase.CONFIRM and step.reason != EARLIER_SYSTEM)


def _let_later_systems_begin(connection: Connection, requests: Sequence[Sequence[Row[Any]]], now: datetime) -> None:
    """A later system waits until all earlier ones have had their effect; then it begins, or is looked at, at once."""
    ready: list[UUID] = []
    for steps in requests:
        busy = [s.position for s in steps if s.state not in ENDED and s.phase != Phase.CONFIRM]
        first_busy = min(busy, default=None)
        ready += [
            s.id
            for s in steps
            if (s.state == StepState.DUE and s.waits_for_order)
            or (s.state == StepState.ACCEPTED and s.reason == EARLIER_SYSTEM)
            if s.due_at > now
            if first_busy is None or s.position <= first_busy
        ]
    if ready:
        connection.execute(
            text("UPDATE steps SET due_at = :now, waits_for_order = false WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"now": now, "ids": ready},
        )


def _answer(connection: Connection, requests: Sequence[Row[Any]], now: datetime) -> dict[UUID, Row[Any]]:
    """Answer these requests. Returns their rows as they are then."""
    if not requests:
        return {}
    changes = [request_change(row, "request_fulfilled") for row in requests]
    values = {"state": RequestState.FULFILLED, "now": now}
    answered = "state = :state, reason = NULL, answered_at = :now"
    change_rows(connection, "request", answered, values, changes, actor="worker", at=now)
    return lock_requests(connection, [row.id for row in requests])


def _free_or_answer_linked(connection: Connection, request: Row[Any], now: datetime) -> None:
    """Requests linked to this one share its good end if it covered them; else they go their own way."""
    linked = connection.execute(
        text(
            "SELECT * FROM requests WHERE linked_to = :id AND state = 'in_progress' AND reason = 'linked'"
            " ORDER BY id FOR NO KEY UPDATE"
        ),
        {"id": request.id},
    ).all()
    covered = _covered(connection, request, linked)
    changes = []
    for row in linked:
        fulfilled = row.id in covered
        connection.execute(
            text(
                "UPDATE requests SET state = :state, reason = NULL, answered_at = :answered, duty = :duty,"
                " due_at = :due, tries = 0, lease_until = NULL,"
                " linked_to = CASE WHEN :fulfilled THEN linked_to END WHERE id = :id"
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


def _covered(connection: Connection, request: Row[Any], linked: Sequence[Row[Any]]) -> set[UUID]:
    """Those linked requests of which everything was in this one's plan, and those that a human linked.

    A review may have taken identifiers out of this one after the link was made: their person wasn't erased by it.
    """
    if request.state != RequestState.FULFILLED:
        return set()
    uncovered = connection.execute(
        text(
            "SELECT DISTINCT i.request_id FROM identifiers i WHERE i.request_id = ANY(CAST(:ids AS uuid[]))"
            " AND i.use IN ('planned', 'pending') AND NOT EXISTS (SELECT 1 FROM identifiers p"
            " WHERE p.request_id = :id AND p.keyed_hash = i.keyed_hash AND p.use = 'planned')"
        ),
        {"ids": [row.id for row in linked], "id": _plan_holder(connection, request)},
    ).scalars()
    open_again = set(uncovered)
    return {row.id for row in linked if row.identity_reviewed or row.id not in open_again}


def _plan_holder(connection: Connection, request: Row[Any]) -> UUID:
    """The request at the chain's head: a linked request that was fulfilled has no plan of its own."""
    head = request
    while head.linked_to is not None:
        asked = text("SELECT id, linked_to FROM requests WHERE id = :id")
        head = connection.execute(asked, {"id": head.linked_to}).one()
    found: UUID = head.id
    return found
