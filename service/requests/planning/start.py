"""Start settled requests: their steps begin to search, and the plan is frozen when all have answered or patience ends.

Decides that a request none of whose systems needs a search waits for nobody: its plan is frozen in the same
transaction, under the same guards. Runs inside a transaction of the caller that has locked the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from service.domain.identity.cluster import Cluster
from service.domain.requests.states import Duty, Progress, RequestState
from service.requests.planning.create_steps import (
    ActiveSystem,
    FirstPlace,
    insert_steps,
    opened_steps,
    settled_change,
)
from service.requests.planning.freeze import Opening, freeze_at_once
from service.settings import Settings
from service.store.audit_log.record_change import change_rows


def start_requests(
    connection: Connection,
    settings: Settings,
    requests: Sequence[tuple[Row[Any], Cluster]],
    systems: Sequence[ActiveSystem],
    now: datetime,
) -> None:
    """Open every system's step for each of these requests; a few statements for any number."""
    openings = []
    for request, cluster in requests:
        steps = opened_steps(request, systems)
        openings.append(Opening(request, steps, settled_change(request, cluster, steps)))
    if any(system.searches_first for system in systems):
        _search(connection, settings, openings, now)
    else:
        freeze_at_once(connection, settings, openings, now)


def _search(connection: Connection, settings: Settings, openings: Sequence[Opening], now: datetime) -> None:
    places = [
        FirstPlace(step, step.phase, step.state, due_at=None if step.located else now)
        for opening in openings
        for step in opening.steps
    ]
    insert_steps(connection, places)
    change_rows(
        connection,
        "request",
        f"state = '{RequestState.IN_PROGRESS}', reason = '{Progress.LOCATING}', duty = '{Duty.FREEZE}', due_at = :due,"
        " tries = 0, lease_until = NULL, located_until = :due",
        {"due": now + settings.seconds("locate_timeout")},
        [opening.settled for opening in openings],
        actor="worker",
        at=now,
    )
