"""Write what became of steps outside a call: park them, or move several at once.

Decides nothing; the caller holds the rows' locks and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.execution.states import Phase, StepState
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import check_again, version_of


def move_steps(connection: Connection, updates: Sequence[dict[str, Any]]) -> None:
    """Write phase, state, reason and due time of many steps in one statement."""
    if not updates:
        return
    connection.execute(
        text(
            "UPDATE steps s SET phase = n.phase, state = n.state, reason = n.reason, due_at = n.due_at,"
            " waits_for_order = n.waits FROM unnest(CAST(:ids AS uuid[]), CAST(:phases AS text[]),"
            " CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]),"
            " CAST(:waits AS boolean[])) AS n(id, phase, state, reason, due_at, waits)"
            " WHERE s.id = n.id"
        ),
        {
            "ids": [u["id"] for u in updates],
            "phases": [u["phase"] for u in updates],
            "states": [u["state"] for u in updates],
            "reasons": [u["reason"] for u in updates],
            "dues": [u["due_at"] for u in updates],
            "waits": [u.get("waits_for_order", False) for u in updates],
        },
    )


def park_steps(connection: Connection, steps: Sequence[Row[Any]], reason: str, *, actor: str, at: datetime) -> None:
    """Park locked steps where they are: a human must act. The request may go on without them."""
    if not steps:
        return
    subjects = subjects_of(connection, steps)
    parked = {"state": StepState.PARKED, "reason": reason, "due_at": None}
    move_steps(connection, [{"id": s.id, "phase": s.phase, **parked} for s in steps])
    changes = [
        Change(
            "step",
            str(s.id),
            version_of(s),
            "step_parked",
            subjects[s.request_id],
            {"phase": Phase(s.phase), "state": StepState.PARKED, "reason": reason},
        )
        for s in steps
    ]
    log_changes(connection, changes, actor=actor, at=at)
    check_again(connection, [s.request_id for s in steps])


def subjects_of(connection: Connection, steps: Sequence[Row[Any]]) -> dict[UUID, str]:
    """The pseudonyms of these steps' requests."""
    rows = connection.execute(
        text("SELECT id, subject FROM requests WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": list({s.request_id for s in steps})},
    )
    return {row.id: row.subject for row in rows}
