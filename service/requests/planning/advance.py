"""Check requests whose steps changed, and carry out the transitions that are due.

The transitions are: freeze a plan, let later systems start, answer the request, plan its sealing. Decides from the rows
as they are, never from a message, so that a second check does no harm. "Every step has ended" is a predicate over rows,
so that no queue can lose it.

Each transaction that may make a transition due adds a check of the request (`planning.request_checks`). Here the check
is deleted first and the rows are read afterwards, by a later statement, which therefore sees at least the rows that
were committed with the check. Of two last answers that are committed at once, the later commit leaves a check that
finds both. If the transaction fails, its rollback restores the check.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from service.domain.requests.states import RequestState
from service.requests.identity.overlaps import not_planned_in
from service.requests.planning.freeze import freeze_plans
from service.requests.planning.next_transitions import DueTransitions, next_transitions
from service.requests.planning.store import take_checks_of, take_oldest_checks
from service.requests.records.changes import answer, answer_duplicates, unlink
from service.requests.records.rows import PlannedRequest, StoredRequest, request_change
from service.requests.records.schedule import plan_sealing
from service.requests.records.store import (
    due_to_freeze,
    followers,
    head_of_links,
    lock_duplicates,
    lock_planned,
    lock_requests,
)
from service.requests.steps.schedule import start_waiting_steps
from service.settings import Settings
from service.store.locking import database_now, request_check, request_check_after
from service.store.stores import Stores

log = structlog.get_logger(__name__)


def advance_requests(stores: Stores, settings: Settings, *, limit: int = 500) -> int:
    """Advance the requests with a due check, and those whose time for searches is over.

    One transaction advances all of them, with one statement for each kind of transition. If one of them can't be
    advanced, each is advanced alone, so that only that one stays as it is. Returns the number of requests that were
    checked with success.
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
    """Take the oldest request checks. Return their requests, and those whose searches are out of time."""
    return list(dict.fromkeys([*take_oldest_checks(connection, limit), *due_to_freeze(connection, limit)]))


def _advance_alone(stores: Stores, settings: Settings, request_id: UUID) -> bool:
    try:
        with stores.engine.begin() as connection:
            take_checks_of(connection, request_id)
            _advance(connection, settings, [request_id])
    except (SQLAlchemyError, ValueError, LookupError) as error:
        log.exception("request_not_advanced", request=str(request_id), error=type(error).__name__)
        with stores.engine.begin() as connection:
            # To the end of the queue: the others must not wait behind it.
            take_checks_of(connection, request_id)
            request_check(connection, [request_id])
        return False
    return True


def _advance(connection: Connection, settings: Settings, ids: Sequence[UUID]) -> None:
    seen = _now(connection, settings, next_transitions(connection, ids))
    if not seen:
        return
    locked = _lock_with_duplicates(connection, [each.id for each in seen])
    # Seen again under lock: somebody may have taken what follows in between.
    seen = _now(connection, settings, next_transitions(connection, [each.id for each in seen]))
    now = database_now(connection)
    freeze_plans(connection, settings, [locked[each.id] for each in seen if each.freezes], now)
    start_waiting_steps(connection, [each.id for each in seen if each.starts_later], now)
    seal_at = now + settings.seconds("data_key_retention")
    answered = [request_change(locked[each.id], "request_fulfilled") for each in seen if each.answers]
    sealing = [each.id for each in seen if each.answers and each.seals]
    answer(connection, answered, sealing=sealing, seal_at=seal_at, actor="worker", at=now)
    ended = lock_requests(connection, [each.id for each in seen if each.frees])
    for request in ended.values():
        _free_or_answer_duplicates(connection, request, now)
    plan_sealing(connection, [each.id for each in seen if each.seals and not each.answers], seal_at)


def _now(connection: Connection, settings: Settings, seen: Sequence[DueTransitions]) -> list[DueTransitions]:
    """Return the transitions that are due now, and schedule another check where a step is leased.

    After the time of a lease, no worker that recorded at this moment is still at it.
    """
    request_check_after(connection, [each.id for each in seen if each.checks_later], settings.engine.lease_seconds)
    return [each for each in seen if each.is_something]


def _lock_with_duplicates(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, PlannedRequest]:
    """Lock the requests and those linked to them, by id like every transaction."""
    return lock_planned(connection, [*ids, *followers(connection, ids)])


def _free_or_answer_duplicates(connection: Connection, request: StoredRequest, now: datetime) -> None:
    """Fulfil the requests linked to this one if its plan covered them; otherwise open them for themselves."""
    linked = lock_duplicates(connection, request.id)
    covered = _covered(connection, request, linked)
    fulfilled = [request_change(row, "request_fulfilled") for row in linked if row.id in covered]
    resumed = [request_change(row, "request_resumed") for row in linked if row.id not in covered]
    answer_duplicates(connection, fulfilled, actor="worker", at=now)
    unlink(connection, resumed, actor="worker", at=now)
    request_check(connection, [row.id for row in linked])


def _covered(connection: Connection, request: StoredRequest, linked: Sequence[StoredRequest]) -> set[UUID]:
    """Return the linked requests that this one's plan covered, and those that a reviewer linked.

    A review may have removed identifiers from this one after the link was made: it didn't erase their person.
    """
    if request.state != RequestState.FULFILLED:
        return set()
    head = head_of_links(connection, request)
    uncovered = not_planned_in(connection, head, [row.id for row in linked])
    return {row.id for row in linked if row.identity_reviewed or row.id not in uncovered}
