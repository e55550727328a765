"""Lift a legal hold, by a human's word or because its time is over: what it alone held back goes on.

Decides which steps may begin again: those parked for a hold whose person no other hold keeps.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from service.domain.errors import NotFound, WrongState
from service.domain.execution.events import HoldLifted
from service.domain.requests.holds import LiftReason
from service.requests.holds.active import held_requests
from service.requests.holds.store import (
    StoredHold,
    expired_holds,
    lock_expired_hold,
    lock_hold,
    requests_parked_by,
    write_lift,
)
from service.requests.records.store import lock_requests
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_steps
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, version_of
from service.store.stores import Stores

LAPSED = "lapsed"
_RELEASED = "hold_released"


def lift_hold(stores: Stores, hold_id: UUID, *, reason: LiftReason, actor: str) -> None:
    """Lift a hold. Raises NotFound; WrongState if it was lifted before."""
    with stores.engine.begin() as connection:
        hold = lock_hold(connection, hold_id)
        if hold is None:
            raise NotFound("there is no such hold")
        if hold.lifted_at is not None:
            raise WrongState("the hold was lifted already")
        _lift(connection, hold, reason.value, actor, database_now(connection))


def expire_holds(stores: Stores, now: datetime) -> int:
    """Lift every hold whose time is over, one transaction each. Returns how many. For the scheduler."""
    with stores.engine.begin() as connection:
        ids = expired_holds(connection, now)
    expired = 0
    for hold_id in ids:
        with stores.engine.begin() as connection:
            hold = lock_expired_hold(connection, hold_id)
            if hold is not None:
                _lift(connection, hold, LAPSED, "scheduler", database_now(connection))
                expired += 1
    return expired


def _lift(connection: Connection, hold: StoredHold, reason: str, actor: str, now: datetime) -> None:
    write_lift(connection, hold.id, now)
    released = Change("hold", str(hold.id), version_of(hold), "hold_released", None, {"reason": reason})
    log_changes(connection, [released], actor=actor, at=now)
    _release_steps(connection, hold.id, actor, now)


def _release_steps(connection: Connection, hold_id: UUID, actor: str, now: datetime) -> None:
    requests = lock_requests(connection, requests_parked_by(connection, hold_id))
    steps = lock_steps(connection, list(requests))
    still_held = held_requests(connection, list(requests))
    free = [step for request_id, own in steps.items() if request_id not in still_held for step in own]
    apply_event(
        connection,
        free,
        HoldLifted(),
        actor=actor,
        at=now,
        subjects={request_id: row.subject for request_id, row in requests.items()},
        data={"decision": _RELEASED},
    )
