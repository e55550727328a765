"""Mark a request as urgent: from now on its steps go before all others and wait for nobody's company.

Decides who may be marked: what hasn't ended. The law's clock doesn't change.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from service.domain.errors import WrongState
from service.domain.execution.lanes import URGENT_LANE
from service.domain.execution.states import ENDED
from service.requests.locking import request_change
from service.requests.steps.schedule import write_queue
from service.store.audit_log.record_change import log_changes
from service.store.locking import database_now, lock_request, lock_steps
from service.store.stores import Stores


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
