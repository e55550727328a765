"""Deny or revoke a request: no new effect begins, and possible earlier effects are still confirmed.

Decides the fate of each step, of the suppression entries, and of requests that were linked to this one: those are
opened again, because nothing accepted is lost. A leased step is left to the engine, which asks before each effect and
ends the step on record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import WITHDRAWN
from service.domain.errors import NotFound, WrongState
from service.domain.execution.events import RequestWithdrawn
from service.domain.requests.states import UNFINISHED, DenialReason, RequestState
from service.requests.planning.store import remove_entries
from service.requests.records.changes import unlink, withdraw
from service.requests.records.rows import StoredRequest, request_change
from service.requests.records.store import lock_with_followers, submitter_of
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_steps
from service.store.locking import database_now, request_check
from service.store.stores import Stores


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
        # Read before any lock, so that another key's request takes as long as one that doesn't exist.
        if submitted_by is not None and submitter_of(connection, request_id) != submitted_by:
            raise NotFound("there is no such request")
        rows = lock_with_followers(connection, [request_id])
        if request_id not in rows:
            raise NotFound("there is no such request")
        if rows[request_id].state not in UNFINISHED:
            raise WrongState("the request has ended already")
        withdraw_locked(connection, rows, [request_id], state=state, reason=reason, actor=actor)


def withdraw_locked(
    connection: Connection,
    rows: Mapping[UUID, StoredRequest],
    request_ids: Sequence[UUID],
    *,
    state: RequestState,
    reason: str | None,
    actor: str,
) -> None:
    """Withdraw these unfinished requests of `rows`, which are locked.

    The others of `rows` were linked to them.
    """
    now = database_now(connection)
    withdrawn = [rows[request_id] for request_id in request_ids]
    subjects = {row.id: row.subject for row in withdrawn}
    event = "request_denied" if state is RequestState.DENIED else "request_revoked"
    why: dict[str, str] = {} if reason is None else {"reason": str(reason)}
    removed = remove_entries(connection, request_ids, now)
    changes = [request_change(row, event, **why) for row in withdrawn]
    changes += [
        request_change(row, "suppression_removed", entries=removed[row.id], reason=WITHDRAWN)
        for row in withdrawn
        if row.id in removed
    ]
    withdraw(connection, changes, state=state, reason=reason, actor=actor, at=now)
    linked = [row for row in rows.values() if row.id not in subjects and row.state in UNFINISHED]
    resumed = [request_change(row, "request_resumed", reason="unlinked") for row in linked]
    unlink(connection, resumed, actor=actor, at=now)
    steps = [step for own in lock_steps(connection, request_ids).values() for step in own]
    apply_event(connection, steps, RequestWithdrawn(now), actor=actor, at=now, subjects=subjects)
    request_check(connection, request_ids)
