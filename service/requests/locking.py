"""Lock several requests in the one order that everybody keeps, and word the entries about locked rows.

Decides the order of locks between requests (by id), so that two decisions about two people never wait in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.audit.schema import AuditValue
from service.requests.planning.create_steps import OpenedStep
from service.store.arrays import listed
from service.store.audit_log.record_change import Change
from service.store.execute import run
from service.store.locking import version_of

PLANNED_COLUMNS = (
    "id, subject, state, reason, duty, plan_version, reappearance_of, second_person_for, version, entry_hash"
)
"""What freezing, releasing and answering read of a request."""


def lock_requests(connection: Connection, request_ids: Iterable[UUID], columns: str = "*") -> dict[UUID, Row[Any]]:
    """The rows of those requests that exist, locked until the transaction ends.

    `columns` is our own text and has `id`: whoever locks many reads what is needed.
    """
    rows = run(
        connection,
        f"SELECT {columns} FROM requests WHERE id = ANY(CAST(:ids AS uuid[]))"  # noqa: S608 - our own text
        " ORDER BY id FOR NO KEY UPDATE",
        {"ids": listed(request_ids)},
    ).all()
    return {row.id: row for row in rows}


def request_change(row: Row[Any], event: str, **data: AuditValue) -> Change:
    """An entry about a locked request."""
    return Change("request", str(row.id), version_of(row), event, row.subject, data)


def step_change(row: Row[Any] | OpenedStep, subject: str, event: str, **data: AuditValue) -> Change:
    """An entry about a locked or new step of the request whose pseudonym is `subject`."""
    return Change("step", str(row.id), version_of(row), event, subject, data)
