"""Change and watch the deadlines of requests: extend once, mark as urgent, mark as overdue.

Decides when the one extension that the law allows is possible. The notice to the requester, with the reasons, is the
privacy team's to send within the first period (Regulation (EU) 2016/679 Art. 12(3), not read again; 11 CCR § 7021(b), a
copy read 2026-11-22); afterwards an extension is refused. An overdue request is marked and alerted, and work on it goes
on. Doesn't decide what a deadline is: `service.domain.requests.deadlines` does.
"""

from __future__ import annotations

from uuid import UUID

from connectors.base.transitions.states import ENDED
from service.domain.audit.schema import instant_text
from service.domain.errors import WrongState
from service.domain.execution.fair_queues import URGENT_FAIR_QUEUE
from service.domain.requests.deadlines import extended_respond_by, regime_of
from service.domain.requests.states import UNFINISHED, ExtensionReason, Progress
from service.requests.intake.store import delete_expired_keys
from service.requests.records.changes import expedite, extend, write_overdue
from service.requests.records.rows import request_change
from service.requests.records.store import lock_missed_deadlines, lock_request
from service.requests.steps.read import lock_steps
from service.requests.steps.schedule import write_deadline, write_queue
from service.settings import Settings
from service.store.locking import database_now, request_check
from service.store.stores import Stores


def extend_request(
    stores: Stores, settings: Settings, request_id: UUID, *, reason: ExtensionReason, actor: str
) -> None:
    """Move `respond_by` to the extended end, counted from receipt. Raises NotFound, WrongState."""
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        now = database_now(connection)
        if row.state not in UNFINISHED:
            raise WrongState("the request has ended already")
        if row.extended_at is not None:
            raise WrongState("the request was extended already")
        if now > row.respond_by:
            raise WrongState("the first period is over: an extension had to be notified within it")
        respond_by = extended_respond_by(regime_of(row.regime, row.scopes), row.received_at, settings.service.zone)
        if respond_by <= row.respond_by:
            raise WrongState("the law knows no extension for such a request")
        lock_steps(connection, [request_id])
        write_deadline(connection, request_id, respond_by)
        change = request_change(row, "request_extended", respond_by=instant_text(respond_by), reason=reason.value)
        extend(connection, change, respond_by=respond_by, reason=reason.value, actor=actor, at=now)


def expedite_request(stores: Stores, request_id: UUID, *, actor: str) -> None:
    """Mark it; marking twice is no error. Raises NotFound, WrongState."""
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        steps = lock_steps(connection, [request_id])[request_id]
        if row.sealed_at is not None or (row.plan_version > 0 and all(s.state in ENDED for s in steps)):
            raise WrongState("every step has ended already")
        if row.urgent:
            return
        write_queue(connection, request_id, URGENT_FAIR_QUEUE)
        change = request_change(row, "request_expedited")
        expedite(connection, change, actor=actor, at=database_now(connection))


def mark_overdue(stores: Stores, *, limit: int = 500) -> int:
    """Mark the requests whose `respond_by` has passed; those that still wait for a verification expire.

    Returns how many were marked. Expired Idempotency-Keys are deleted as well.
    """
    with stores.engine.begin() as connection:
        delete_expired_keys(connection)
        rows = lock_missed_deadlines(connection, limit)
        if not rows:
            return 0
        expired = [row.id for row in rows if row.reason == Progress.NEED_USER_VERIFICATION]
        changes = [
            request_change(row, "request_expired")
            if row.id in expired
            else request_change(row, "request_overdue", respond_by=instant_text(row.respond_by))
            for row in rows
        ]
        write_overdue(connection, changes, expired=expired, actor="scheduler", at=database_now(connection))
        request_check(connection, expired)
    return len(rows)
