"""Change and watch the deadlines of requests: extend once, mark as urgent, mark as overdue.

Decides when the one extension that the law allows is possible. The notice to the requester, with the reasons, is the
privacy team's to send within the first period (Regulation (EU) 2016/679 Art. 12(3), not read again; 11 CCR § 7021(b), a
copy read 2026-11-22); afterwards an extension is refused. An overdue request is marked and alerted, and work on it goes
on. Doesn't decide what a deadline is: `service.domain.requests.deadlines` does.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from service.domain.audit.schema import instant_text
from service.domain.errors import WrongState
from service.domain.execution.lanes import URGENT_LANE
from service.domain.execution.states import ENDED
from service.domain.requests.deadlines import REGIMES, extended_respond_by
from service.domain.requests.states import UNFINISHED, ExtensionReason
from service.requests.locking import request_change
from service.requests.steps.schedule import write_deadline, write_queue
from service.settings import Settings
from service.store.audit_log.record_change import Change, change_rows, log_changes
from service.store.locking import check_again, database_now, lock_request, lock_steps, version_of
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
        respond_by = extended_respond_by(REGIMES[row.regime], row.received_at, settings.service.zone)
        lock_steps(connection, [request_id])
        write_deadline(connection, request_id, respond_by)
        change = request_change(row, "request_extended", respond_by=instant_text(respond_by), reason=reason.value)
        extended = "respond_by = :by, extended_at = :now, extension_reason = :reason"
        values = {"by": respond_by, "now": now, "reason": reason}
        change_rows(connection, "request", extended, values, [change], actor=actor, at=now)


def expedite_request(stores: Stores, request_id: UUID, *, actor: str) -> None:
    """Mark it; marking twice is no error. Raises NotFound, WrongState."""
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        steps = lock_steps(connection, [request_id])[request_id]
        if row.sealed_at is not None or (row.plan_version > 0 and all(s.state in ENDED for s in steps)):
            raise WrongState("every step has ended already")
        if row.urgent:
            return
        connection.execute(text("UPDATE requests SET urgent = true WHERE id = :id"), {"id": request_id})
        write_queue(connection, request_id, URGENT_LANE)
        now = database_now(connection)
        log_changes(connection, [request_change(row, "request_expedited")], actor=actor, at=now)


def watch_deadlines(stores: Stores, *, limit: int = 500) -> int:
    """Mark requests whose `respond_by` has passed. Those that waited for a verification in vain expire.

    Returns how many were marked.
    """
    with stores.engine.begin() as connection:
        connection.execute(text("DELETE FROM idempotency_keys WHERE expires_at <= clock_timestamp()"))
        rows = connection.execute(
            text(
                "SELECT * FROM requests WHERE state IN ('open', 'in_progress') AND overdue_at IS NULL"
                " AND respond_by < clock_timestamp() ORDER BY respond_by LIMIT :n FOR NO KEY UPDATE SKIP LOCKED"
            ),
            {"n": limit},
        ).all()
        if not rows:
            return 0
        now = database_now(connection)
        expired = [row for row in rows if row.reason == "need_user_verification"]
        connection.execute(
            text("UPDATE requests SET overdue_at = :now WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"now": now, "ids": [row.id for row in rows]},
        )
        connection.execute(
            text("UPDATE requests SET state = 'expired', reason = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": [row.id for row in expired]},
        )
        changes = []
        for row in rows:
            event, data = ("request_overdue", {"respond_by": instant_text(row.respond_by)})
            if row in expired:
                event, data = "request_expired", {}
            changes.append(Change("request", str(row.id), version_of(row), event, row.subject, data))
        log_changes(connection, changes, actor="scheduler", at=now)
        check_again(connection, [row.id for row in expired])
    return len(rows)
