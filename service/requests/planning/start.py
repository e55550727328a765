"""Start requests whose identities are resolved: search each system first, or freeze the plan at once.

Decides that a request none of whose steps needs a search waits for no search: its plan is frozen in the same
transaction, under the same guards. Runs inside a transaction of the caller that has locked the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from connectors.base.transitions.states import StepState
from service.domain.identity.cluster import Cluster
from service.requests.planning.create_steps import ActiveSystem, ResolvedRequest, create_steps, step_insert
from service.requests.planning.freeze import freeze_without_search
from service.requests.planning.store import insert_steps
from service.requests.records.changes import start_searches
from service.requests.records.rows import PlannedRequest
from service.settings import Settings


def start_requests(
    connection: Connection,
    settings: Settings,
    requests: Sequence[tuple[PlannedRequest, Cluster]],
    systems: Sequence[ActiveSystem],
    now: datetime,
) -> None:
    """Open every system's step for each of these requests; a few statements for any number."""
    resolved = [create_steps(request, systems, cluster) for request, cluster in requests]
    searched = [each for each in resolved if not all(step.located for step in each.steps)]
    planned = [each for each in resolved if all(step.located for step in each.steps)]
    if searched:
        _search(connection, settings, searched, now)
    if planned:
        freeze_without_search(connection, settings, planned, now)


def _search(connection: Connection, settings: Settings, resolved: Sequence[ResolvedRequest], now: datetime) -> None:
    rows = [
        step_insert(each.request, step, state=StepState(step.state), due_at=None if step.located else now)
        for each in resolved
        for step in each.steps
    ]
    insert_steps(connection, rows)
    located_until = now + settings.seconds("locate_timeout")
    changes = [each.change for each in resolved]
    start_searches(connection, changes, located_until=located_until, actor="worker", at=now)
