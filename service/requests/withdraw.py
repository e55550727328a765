"""Deny or revoke a request: nothing more begins, and what may have happened already is still looked at.

Decides what becomes of each step, of the suppression entries, and of requests that were linked to this one: those are
opened again, since nothing accepted is lost. A leased step is left to the engine, which asks before each effect and
ends the step on record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text

from service.domain.errors import NotFound, WrongState
from service.domain.execution.events import RequestWithdrawn
from service.domain.execution.states import WITHDRAWN
from service.domain.requests.states import UNFINISHED, DenialReason, Duty, RequestState
from service.requests.locking import lock_requests, request_change
from service.requests.steps.move import apply_event
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import check_again, database_now, lock_steps
from service.store.stores import Stores
from service.store.tables.requests import RequestRow


def deny_request(stores: Stores, request_id: UUID, *, reason: DenialReason, actor: str) -> None:
    """Refuse a request, with the reason that the requester is told. Raises NotFound, WrongState."""
    _withdraw(stores, request_id, RequestState.DENIED, reason, actor)


def revoke_request(stores: Stores, request_id: UUID, *, actor: str, submitted_by: UUID | None = None) -> None:
    """The requester took the request back. With `submitted_by` a request of another key isn't there.

    Raises NotFound, WrongState.
    """
    _withdraw(stores, request_id, RequestState.REVOKED, None, actor, submitted_by)


def _withdraw(
    stores: Stores,
    request_id: UUID,
    state: RequestState,
    reason: DenialReason | None,
    actor: str,
    submitted_by: UUID | None = None,
) -> None:
    with stores.engine.begin() as connection:
        if submitted_by is not None:
            _must_be_of(connection, request_id, submitted_by)
        rows = lock_with_followers(connection, [request_id])
        if request_id not in rows:
            raise NotFound("there is no such request")
        if rows[request_id].state not in UNFINISHED:
            raise WrongState("the request has ended already")
        withdraw_locked(connection, rows, [request_id], state=state, reason=reason, actor=actor)


def _must_be_of(connection: Connection, request_id: UUID, submitted_by: UUID) -> None:
    """Asked before any lock, so that another key's request answers as quickly as one that doesn't exist."""
    owner = select(RequestRow.submitted_by).where(RequestRow.id == request_id)
    if connection.execute(owner).scalar_one_or_none() != submitted_by:
        raise NotFound("there is no such request")


def withdraw_locked(
    connection: Connection,
    rows: Mapping[UUID, Row[Any]],
    request_ids: Sequence[UUID],
    *,
    state: RequestState,
    reason: str | None,
    actor: str,
) -> None:
    """Withdraw those unfinished requests out of `rows`, which are locked; the others of `rows` followed them."""
    now = database_now(connection)
    withdrawn = [rows[request_id] for request_id in request_ids]
    connection.execute(
        text(
            "UPDATE requests SET state = :state, reason = :reason, duty = NULL, due_at = NULL, lease_until = NULL,"
            " fence = fence + 1, answered_at = :now WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"state": state, "reason": reason, "now": now, "ids": request_ids},
    )
    event = "request_denied" if state is RequestState.DENIED else "request_revoked"
    why: dict[str, str] = {} if reason is None else {"reason": str(reason)}
    changes = [request_change(row, event, **why) for row in withdrawn]
    removed = _lift_suppression(connection, request_ids, now)
    changes += [
        request_change(row, "suppression_removed", entries=removed[row.id], reason=WITHDRAWN)
        for row in withdrawn
        if row.id in removed
    ]
    subjects = {row.id: row.subject for row in withdrawn}
    changes += _free(connection, [row for row in rows.values() if row.id not in subjects], now)
    log_changes(connection, changes, actor=actor, at=now)
    steps = [step for own in lock_steps(connection, request_ids).values() for step in own]
    apply_event(connection, steps, RequestWithdrawn(now), actor=actor, at=now, subjects=subjects)
    check_again(connection, request_ids)


def lock_with_followers(connection: Connection, request_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Requests and those linked to them. Twice: one may be linked while the first look waits for a lock."""
    wanted = set(request_ids)
    rows: dict[UUID, Row[Any]] = {}
    for _ in range(2):
        followers = connection.execute(
            text("SELECT id FROM requests WHERE linked_to = ANY(CAST(:ids AS uuid[]))"), {"ids": request_ids}
        ).scalars()
        rows = lock_requests(connection, [*request_ids, *(i for i in followers if i not in wanted)])
    return {i: row for i, row in rows.items() if i in wanted or row.linked_to in wanted}


def _lift_suppression(connection: Connection, request_ids: Sequence[UUID], now: datetime) -> dict[UUID, int]:
    """How many entries of which request were lifted."""
    rows = connection.execute(
        text(
            "UPDATE suppression_entries SET removed_at = :now WHERE request_id = ANY(CAST(:ids AS uuid[]))"
            " AND removed_at IS NULL RETURNING request_id"
        ),
        {"now": now, "ids": request_ids},
    )
    return Counter(row.request_id for row in rows)


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
