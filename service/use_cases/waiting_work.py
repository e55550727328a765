"""What waits for the control processes, as every tick asks: one short look, so that an idle service costs little.

By the oldest row, through the index: a plain EXISTS reads its way through all the rows that were just deleted. Entries
that somebody is putting into the tree right now don't wait for another process.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from service.storage.stores import Stores
from service.use_cases.sequence_audit import SEQUENCER_LOCK

_WAITING = text(
    "SELECT (SELECT id FROM request_checks ORDER BY id LIMIT 1) IS NOT NULL OR EXISTS (SELECT 1 FROM requests"
    " WHERE duty = 'freeze' AND due_at <= (SELECT clock_timestamp())) AS requests,"
    " CASE WHEN (SELECT id FROM audit_pending WHERE refused IS NULL ORDER BY id LIMIT 1) IS NOT NULL"
    " THEN pg_try_advisory_xact_lock(:lock) ELSE false END AS entries"
)


@dataclass(frozen=True)
class WaitingWork:
    """Whether a request is to be looked at, and whether entries wait for the tree that nobody takes."""

    requests: bool
    entries: bool


def waiting_work(stores: Stores) -> WaitingWork:
    """What waits now."""
    with stores.engine.begin() as connection:
        return WaitingWork(*connection.execute(_WAITING, {"lock": SEQUENCER_LOCK}).one())
