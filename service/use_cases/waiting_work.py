"""What waits for the control processes, as every tick asks: one short look, so that an idle service costs little."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from service.storage.stores import Stores

_WAITING = text(
    "SELECT EXISTS (SELECT 1 FROM request_checks) OR EXISTS (SELECT 1 FROM requests WHERE duty = 'freeze'"
    " AND due_at <= (SELECT clock_timestamp())) AS requests,"
    " EXISTS (SELECT 1 FROM audit_pending WHERE refused IS NULL) AS entries"
)


@dataclass(frozen=True)
class WaitingWork:
    """Whether a request is to be looked at, and whether entries wait for the tree."""

    requests: bool
    entries: bool


def waiting_work(stores: Stores) -> WaitingWork:
    """What waits now."""
    with stores.engine.begin() as connection:
        return WaitingWork(*connection.execute(_WAITING).one())
