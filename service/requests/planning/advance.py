"""Look at requests whose steps moved on, and take what follows: freeze, let later systems begin, answer, plan sealing.

Decides from the rows as they are, never from what a message said, so looking twice is harmless. "Every step ended" is a
predicate over rows; no callback of any queue can lose it.

Whoever changes what may let something follow asks for a look in the same transaction (storage.rows.check_again). Here
the asking is taken first and the rows are read afterwards, by a later statement: it sees at least what was committed
with the asking that it took. Of two last answers that are committed at once, the one whose commit is later leaves an
asking behind that finds both. If nothing can be made of it the asking comes back with the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from service.domain.requests.states import Duty, RequestState
from service.requests.locking import PLANNED_COLUMNS, lock_requests, request_change
from service.requests.planning.freeze import freeze_plans
from service.requests.planning.next_transitions import Following, see_what_follows
from service.requests.steps.schedule import start_waiting_steps
from service.settings import Settings
from service.store.audit_log.record_change import Change, change_rows, log_changes
from service.store.locking import check_again, check_later, database_now, version_of
from service.store.stores import Stores

log = structlog.get_logger(__name__)

# What somebody else is just taking is left to them: nobody waits for an asking. By place, since a join may take anew
# for each row that it looks at.
_TAKE_OLDEST = text(
    "DELETE FROM request_checks WHERE ctid = ANY(ARRAY(SELECT ctid FROM request_checks"
    " WHERE look_at <= (SELECT clock_timestamp()) ORDER BY id LIMIT :n FOR NO KEY UPDATE SKIP LOCKED))"
    " RETURNING request_id"
)
_TAKE_OF_ONE = text(
    "DELETE FROM request_checks WHERE ctid = ANY(ARRAY(SELECT ctid FROM request_checks WHERE request_id = :id"
    " FOR NO KEY UPDATE SKIP LOCKED))"
)


def advance_requests(stores: Stores, settings: Settings, *, limit: int = 500) -> int:
    """Advance the requests that somebody asked to be looked at, and those whose patience for searches is over.

    One transaction for all of them, with one statement for each kind of thing that follows. If one of them can't be
    advanced, they are taken one by one, so that it alone stays where it is. Returns how many were looked at with
    success.
    """
    ids: list[UUID] = []
    try:
        with stores.engine.begin() as connection:
            ids += _asked_for(connection, limit)
            if ids:
                _advance(connection, settings, ids)
    except (SQLAlchemyError, ValueError, LookupError) as error:
        if not ids:
            raise
        log.warning("requests_not_advanced_together", requests=len(ids), error=type(error).__name__)
        return sum(_advance_alone(stores, settings, request_id) for request_id in ids)
    return len(ids)


def _asked_for(connection: Connection, limit: int) -> list[UUID]:
    """Take the oldest askings. Returns whom they name, and whose patience is over."""
    asked = connection.execute(_TAKE_OLDEST, {"n": limit}).scalars().all()
    due = connection.execute(
        text("SELECT id FROM requests WHERE duty = 'freeze' AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :n"),
        {"n": limit},
    ).scalars()
    return list(dict.fromkeys([*asked, *due]))


def _advance_alone(stores: Stores, settings: Settings, request_id: UUID) -> bool:
    try:
        with stores.engine.begin() as connection:
            connection.execute(_TAKE_OF_ONE, {"id": request_id})
            _advance(connection, settings, [request_id])
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.exception("request_not_advanced", request=str(request_id), error=type(error).__name__)
        with stores.engine.begin() as connection:
            # To the end of the queue: the others must not wait behind it.
            connection.execute(_TAKE_OF_ONE, {"id": request_id})
            check_again(connection, [request_id])
        return False
    return True


def _advance(connection: Connection, settings: Settings, ids: Sequence[UUID]) -> None:
    seen = _now(connection, settings, see_what_follows(connection, ids))
    if not seen:
        return
    locked = _lock_with_linked(connection, [each.id for each in seen])
    # Seen again under lock: somebody may have taken what follows in between.
    seen = _now(connection, settings, see_what_follows(connection, [each.id for each in seen]))
    now = database_now(connection)
    freeze_plans(connection, settings, [locked[each.id] for each in seen if each.freezes], now)
    start_waiting_steps(connection, [each.id for each in seen if each.goes_on], now)
    seal_at = now + settings.seconds("data_key_retention")
    _answer(connection, [(locked[each.id], each.seals) for each in seen if each.answers], now, seal_at)
    ended = lock_requests(connection, [each.id for each in seen if each.frees])
    for request in ended.values():
        _free_or_answer_linked(connection, request, now)
    _plan_sealing(connection, [each.id for each in seen if each.seals and not each.answers], seal_at)


def _now(connection: Connection, settings: Settings, seen: Sequence[Following]) -> list[Following]:
    """Those for which something follows now. A lease's time later nobody who recorded at this moment is still at it."""
    check_later(connection, [each.id for each in seen if each.looks_later], settings.engine.lease_seconds)
    return [each for each in seen if each.is_something]


def _lock_with_linked(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """The requests and those linked to them, in the order of everybody who locks several: by id."""
    linked = connection.execute(
        text("SELECT id FROM requests WHERE linked_to = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
    ).scalars()
    return lock_requests(connection, [*ids, *linked], PLANNED_COLUMNS)


def _plan_sealing(connection: Connection, ids: Sequence[UUID], seal_at: datetime) -> None:
    if ids:
        connection.execute(
            text(
                "UPDATE requests SET duty = :duty, due_at = :due, lease_until = NULL"
                " WHERE id = ANY(CAST(:ids AS uuid[]))"
            ),
            {"duty": Duty.SEAL, "due": seal_at, "ids": list(ids)},
        )


def _answer(
    connection: Connection, requests: Sequence[tuple[Row[Any], bool]], now: datetime, seal_at: datetime
) -> None:
    """Answer these requests; with True beside them their sealing is planned, too."""
    change_rows(
        connection,
        "request",
        "state = :state, reason = NULL, answered_at = :now,"
        " duty = CASE WHEN r.id = ANY(CAST(:sealing AS uuid[])) THEN :seal ELSE r.duty END,"
        " due_at = CASE WHEN r.id = ANY(CAST(:sealing AS uuid[])) THEN CAST(:seal_at AS timestamptz) ELSE r.due_at END",
        {
            "state": RequestState.FULFILLED,
            "now": now,
            "seal": Duty.SEAL,
            "seal_at": seal_at,
            "sealing": [row.id for row, seals in requests if seals],
        },
        [request_change(row, "request_fulfilled") for row, _ in requests],
        actor="worker",
        at=now,
    )


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
