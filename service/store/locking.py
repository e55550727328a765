"""Small readings that several use cases share: the database's clock, locked steps, versions.

Rows are locked FOR NO KEY UPDATE here and in every use case, never FOR UPDATE: whoever writes a row with a foreign key
takes FOR KEY SHARE on the request, hold or import that it names, also where a second UPDATE in one transaction makes
PostgreSQL check it again. FOR UPDATE conflicts with that. While steps had such keys, whoever held a request and wanted
its steps met whoever held the steps: a deadlock, and a batch that stayed leased until the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.store.arrays import listed
from service.store.audit_log.record_change import Version
from service.store.execute import run

# For a step `s` in its system `y`: what was noted of this step, and what the system's connector declares.
EVERY_GAP = "ARRAY(SELECT DISTINCT unnest(s.not_covered || y.not_covered) ORDER BY 1)"

_CHECK = "INSERT INTO request_checks (request_id) SELECT unnest(CAST(:ids AS uuid[]))"
_CHECK_LATER = (
    "INSERT INTO request_checks (request_id, look_at) SELECT id, clock_timestamp() + make_interval(secs => :seconds)"
    " FROM unnest(CAST(:ids AS uuid[])) AS n(id)"
)


def database_now(connection: Connection) -> datetime:
    """The database's clock: the only one by which leases and due times are judged."""
    now: datetime = run(connection, "SELECT clock_timestamp()").scalar_one()
    return now


def lock_steps(connection: Connection, request_ids: Sequence[UUID], columns: str = "*") -> dict[UUID, list[Row[Any]]]:
    """All steps of these requests by position, locked in the one order that everybody keeps: by id, like a batch's.

    `columns` is our own text and has `id`, `request_id` and `position`: whoever locks many reads what is needed.
    """
    rows = run(
        connection,
        f"SELECT {columns} FROM steps WHERE request_id = ANY(CAST(:ids AS uuid[]))"  # noqa: S608 - our own text
        " ORDER BY id FOR NO KEY UPDATE",
        {"ids": listed(request_ids)},
    ).all()
    found: dict[UUID, list[Row[Any]]] = {request_id: [] for request_id in request_ids}
    for row in sorted(rows, key=lambda row: (row.position, row.id)):
        found[row.request_id].append(row)
    return found


class Versioned(Protocol):
    """A row that counts its entries, or what will be one."""

    @property
    def version(self) -> int:
        """How many it has had."""

    @property
    def entry_hash(self) -> bytes | None:
        """The digest of the last."""


def version_of(row: Row[Any] | Versioned) -> Version:
    """Where a row stands in the audit log."""
    return Version(row.version, None if row.entry_hash is None else bytes(row.entry_hash))


def read_by_index(connection: Connection) -> None:
    """Have this transaction read the unfinished by their partial indexes, whatever the planner was told last.

    Statistics of a day on which everything was unfinished would have it read all that has ended since.
    """
    connection.execute(text("SET LOCAL enable_seqscan = off"))


def check_again(connection: Connection, request_ids: Sequence[UUID]) -> None:
    """Ask that these requests be looked at again, once this transaction is committed. Takes no lock."""
    if request_ids:
        run(connection, _CHECK, {"ids": listed(dict.fromkeys(request_ids))})


def check_later(connection: Connection, request_ids: Sequence[UUID], seconds: float) -> None:
    """The same, to be looked at in so many seconds."""
    if request_ids:
        run(connection, _CHECK_LATER, {"ids": listed(dict.fromkeys(request_ids)), "seconds": seconds})
