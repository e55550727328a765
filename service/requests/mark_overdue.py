"""Watch the law's clocks: mark what is overdue, expire what was never verified, forget idempotency keys.

Overdue is a mark and an alert, never an end: the duty doesn't end with the deadline, so work goes on.
"""

from __future__ import annotations

from sqlalchemy import text

from service.domain.audit.schema import instant_text
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import check_again, database_now, version_of
from service.store.stores import Stores


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
