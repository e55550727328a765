"""Lift a legal hold, by a human's word or because its time is over: what it alone held back goes on.

Decides which steps may begin again: those parked for a hold whose person no other hold keeps.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.errors import NotFound, WrongState
from service.domain.execution.events import HoldLifted
from service.domain.execution.states import LEGAL_HOLD, StepState
from service.domain.requests.holds import LiftReason
from service.requests.holds.active import held_requests
from service.requests.records.store import lock_requests
from service.requests.steps.move import apply_event
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, lock_steps, version_of
from service.store.stores import Stores

LAPSED = "lapsed"
_RELEASED = "hold_released"


def lift_hold(stores: Stores, hold_id: UUID, *, reason: LiftReason, actor: str) -> None:
    """Lift a hold. Raises NotFound; WrongState if it was lifted before."""
    with stores.engine.begin() as connection:
        hold = connection.execute(
            text("SELECT * FROM holds WHERE id = :id FOR NO KEY UPDATE"), {"id": hold_id}
        ).one_or_none()
        if hold is None:
            raise NotFound("there is no such hold")
        if hold.lifted_at is not None:
            raise WrongState("the hold was lifted already")
        _lift(connection, hold, reason.value, actor, database_now(connection))


def expire_holds(stores: Stores, now: datetime) -> int:
    """Lift every hold whose time is over, one transaction each. Returns how many. For the scheduler."""
    with stores.engine.begin() as connection:
        due = connection.execute(
            text("SELECT id FROM holds WHERE lifted_at IS NULL AND until <= :now ORDER BY until, id"), {"now": now}
        )
        ids = list(due.scalars())
    lapsed = 0
    for hold_id in ids:
        with stores.engine.begin() as connection:
            hold = connection.execute(
                text(
                    "SELECT * FROM holds WHERE id = :id AND lifted_at IS NULL AND until <= clock_timestamp()"
                    " FOR NO KEY UPDATE SKIP LOCKED"
                ),
                {"id": hold_id},
            ).one_or_none()
            if hold is not None:
                _lift(connection, hold, LAPSED, "scheduler", database_now(connection))
                lapsed += 1
    return lapsed


def _lift(connection: Connection, hold: Row[Any], reason: str, actor: str, now: datetime) -> None:
    connection.execute(text("UPDATE holds SET lifted_at = :now WHERE id = :id"), {"now": now, "id": hold.id})
    released = Change("hold", str(hold.id), version_of(hold), "hold_released", None, {"reason": reason})
    log_changes(connection, [released], actor=actor, at=now)
    _release_steps(connection, hold.id, actor, now)


def _release_steps(connection: Connection, hold_id: UUID, actor: str, now: datetime) -> None:
    ids = connection.execute(
        text(
            "SELECT DISTINCT i.request_id FROM hold_hashes hh JOIN identifiers i ON i.keyed_hash = hh.keyed_hash"
            " JOIN steps s ON s.request_id = i.request_id"
            " WHERE hh.hold_id = :id AND s.state = :parked AND s.reason = :held"
        ),
        {"id": hold_id, "parked": StepState.PARKED, "held": LEGAL_HOLD},
    ).scalars()
    requests = lock_requests(connection, ids)
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
