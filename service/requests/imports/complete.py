"""Complete imports that have nothing left to do (domain.imports.is_completed), for the scheduler.

The import's row is locked before its requests are looked at, as it is while its lines are accepted: no line comes in
between. An ended request never becomes unfinished again, so nothing else can.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from service.domain.requests.imports import ImportState, is_completed
from service.requests.imports.begin import change_import, lock_import
from service.requests.imports.store import complete_candidates
from service.requests.records.store import import_has_unfinished
from service.store.stores import Stores


def complete_imports(stores: Stores, *, limit: int = 100) -> int:
    """Complete the imports that have nothing left to do, each in its own transaction. Return how many."""
    with stores.engine.begin() as connection:
        candidates = complete_candidates(connection, limit)
    completed = 0
    for import_id in candidates:
        with stores.engine.begin() as connection:
            completed += _complete(connection, import_id)
    return completed


def _complete(connection: Connection, import_id: UUID) -> bool:
    row = lock_import(connection, import_id)
    unfinished = import_has_unfinished(connection, import_id)
    done = is_completed(row.state, is_whole=row.received_at is not None, has_unfinished=unfinished)
    if done:
        change_import(connection, row, ImportState.COMPLETED, "import_completed", actor="scheduler")
    return done
