"""Read what the rule of outcomes needs to know of locked steps: their rows, and what their requests say just now.

Decides nothing; domain.outcomes does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.outcomes import Phase, StepFacts
from service.domain.request import WITHDRAWN_STATES, Progress
from service.storage.holds import held_requests
from service.storage.packed import listed


def step_facts(connection: Connection, rows: Mapping[UUID, Row[Any]]) -> dict[UUID, StepFacts]:
    """Per locked step. Requests are read, not locked: a decision that comes later finds the answer recorded.

    A step in its erasing call may be looked at in the same pass, so it knows whether it would have to wait, too.
    """
    request_ids = list({row.request_id for row in rows.values()})
    held = held_requests(connection, request_ids)
    states = connection.execute(
        text("SELECT id, state, reason FROM requests WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": listed(request_ids)},
    ).all()
    withdrawn = {row.id for row in states if row.state in WITHDRAWN_STATES}
    unapproved = {row.id for row in states if row.reason == Progress.AWAITING_APPROVAL}
    waiting = {
        row.id
        for row in connection.execute(
            text(
                "SELECT DISTINCT s.id FROM steps s JOIN steps e ON e.request_id = s.request_id"
                " AND e.position < s.position WHERE s.id = ANY(CAST(:ids AS uuid[]))"
                " AND s.phase IN ('erase', 'confirm') AND e.ended_at IS NULL AND e.phase <> 'confirm'"
            ),
            {"ids": listed(rows)},
        )
    }
    return {
        step_id: StepFacts(
            phase=Phase(row.phase),
            tries=row.tries,
            rounds=row.rounds,
            effect_possible=row.effect_possible,
            frozen=row.plan_version is not None,
            held=row.request_id in held,
            withdrawn=row.request_id in withdrawn,
            must_wait=step_id in waiting,
            awaiting_approval=row.request_id in unapproved,
            retained=row.retained,
        )
        for step_id, row in rows.items()
    }
