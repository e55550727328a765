"""Open the steps of settled requests: one per active system begins to search.

Decides where a request goes from there: its plan is frozen when all have answered, or patience ends. Runs inside a
transaction of the caller that has locked the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from service.domain.audit_shapes import AuditValue
from service.domain.cluster import Cluster
from service.domain.outcomes import Phase, StepState
from service.domain.request import Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, change_rows
from service.storage.packed import Packed
from service.storage.rows import version_of


@dataclass(frozen=True)
class _Opened:
    id: UUID
    request: Row[Any]
    system: str
    position: int


def active_systems(connection: Connection) -> list[Row[Any]]:
    """Name and position of the systems in which people are searched for."""
    return list(
        connection.execute(text("SELECT name, position FROM systems WHERE state = 'active' ORDER BY position, name"))
    )


def open_steps(
    connection: Connection,
    settings: Settings,
    requests: Sequence[tuple[Row[Any], Cluster]],
    systems: Sequence[Row[Any]],
    now: datetime,
) -> None:
    """Open every system's step for each of these requests; two statements for any number.

    They begin with their request's entry, so their rows have had none of their own.
    """
    opened = [_Opened(uuid4(), request, s.name, s.position) for request, _ in requests for s in systems]
    connection.execute(
        text(
            "INSERT INTO steps (id, request_id, system, position, phase, state, due_at, respond_by, lane)"
            " SELECT id, request, system, position, :phase, :state, :now, respond_by, lane FROM unnest("
            " CAST(:ids AS uuid[]), CAST(:requests AS uuid[]), CAST(:systems AS text[]), CAST(:positions AS integer[]),"
            " CAST(:deadlines AS timestamptz[]), CAST(:lanes AS uuid[]))"
            " AS n(id, request, system, position, respond_by, lane)"
        ),
        {
            "phase": Phase.LOCATE,
            "state": StepState.DUE,
            "now": now,
            "ids": Packed(str(step.id) for step in opened),
            "requests": Packed(str(step.request.id) for step in opened),
            "systems": Packed(step.system for step in opened),
            "positions": [step.position for step in opened],
            "deadlines": [step.request.respond_by for step in opened],
            "lanes": Packed(str(step.request.lane) for step in opened),
        },
    )
    of_request: dict[UUID, list[_Opened]] = {request.id: [] for request, _ in requests}
    for step in opened:
        of_request[step.request.id].append(step)
    change_rows(
        connection,
        "request",
        f"state = '{RequestState.IN_PROGRESS}', reason = '{Progress.LOCATING}', duty = '{Duty.FREEZE}', due_at = :due,"
        " tries = 0, lease_until = NULL, located_until = :due",
        {"due": now + settings.seconds("locate_patience")},
        [_settled(request, cluster, of_request[request.id]) for request, cluster in requests],
        actor="worker",
        at=now,
    )


def _settled(request: Row[Any], cluster: Cluster, opened: Sequence[_Opened]) -> Change:
    data: dict[str, AuditValue] = {
        "identifiers": len(cluster.members),
        "excluded": len(cluster.excluded),
        "doubts": [doubt["reason"] for doubt in request.doubts],
        "steps": [str(step.id) for step in opened],
        "systems": [step.system for step in opened],
    }
    return Change("request", str(request.id), version_of(request), "request_settled", request.subject, data)
