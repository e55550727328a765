"""Pause, resume or cancel an import: one row changes, whatever the number of its requests.

Decides which change is possible when. Leasing looks at the import (requests.imports.paused); the clocks of its
requests run
on. Cancelling revokes every request that hasn't ended, in portions, with what that means for a single one: what has
begun is looked at to its end. `cancelled` is said when none is left.
"""

from __future__ import annotations

from collections.abc import Set
from uuid import UUID

from sqlalchemy import Connection

from service.domain.errors import NotFound, WrongState
from service.domain.requests.imports import CAN_CANCEL, CAN_PAUSE, CAN_RESUME, IMPORT_CANCELLED, ImportState
from service.domain.requests.states import UNFINISHED, RequestState
from service.requests.imports.begin import change_import, lock_import
from service.requests.imports.store import importer_of, next_to_cancel
from service.requests.records.store import lock_with_followers, unfinished_of_import
from service.requests.withdraw import withdraw_locked
from service.store.stores import Stores

_PORTION = 200


def pause_import(stores: Stores, import_id: UUID, *, actor: str, submitted_by: UUID | None = None) -> None:
    """Nothing of it is leased until it is resumed. Raises NotFound, WrongState."""
    _change(stores, import_id, CAN_PAUSE, ImportState.PAUSED, "import_paused", actor, submitted_by)


def resume_import(stores: Stores, import_id: UUID, *, actor: str, submitted_by: UUID | None = None) -> None:
    """It goes on. Raises NotFound, WrongState."""
    _change(stores, import_id, CAN_RESUME, ImportState.RUNNING, "import_resumed", actor, submitted_by)


def cancel_import(stores: Stores, import_id: UUID, *, actor: str, submitted_by: UUID | None = None) -> None:
    """It takes no more lines, and its requests will be revoked. Raises NotFound, WrongState."""
    _change(stores, import_id, CAN_CANCEL, ImportState.CANCELLING, "import_cancelled", actor, submitted_by)


def revoke_cancelled(stores: Stores, *, portions: int = 20) -> int:
    """Revoke open requests of cancelled imports, some portions of them. Return how many were revoked."""
    revoked = 0
    for _ in range(portions):
        with stores.engine.begin() as connection:
            import_id = next_to_cancel(connection)
            if import_id is None:
                break
            revoked += _revoke_portion(connection, import_id)
    return revoked


def _change(
    stores: Stores,
    import_id: UUID,
    possible_in: Set[ImportState],
    state: ImportState,
    event: str,
    actor: str,
    submitted_by: UUID | None,
) -> None:
    """`submitted_by`: the only key whose imports may be changed; None: every key's."""
    with stores.engine.begin() as connection:
        # Read before any lock, so that another key's import takes as long as one that doesn't exist.
        if submitted_by is not None and importer_of(connection, import_id) != submitted_by:
            raise NotFound("there is no such import")
        row = lock_import(connection, import_id)
        if row.state not in possible_in:
            raise WrongState(f"the import is {row.state}")
        change_import(connection, row, state, event, actor=actor)


def _revoke_portion(connection: Connection, import_id: UUID) -> int:
    """Lock the import's row first, as its writers do, so that no line is written after the last portion."""
    importing = lock_import(connection, import_id)
    if importing.state != ImportState.CANCELLING:
        return 0
    ids = unfinished_of_import(connection, import_id, _PORTION)
    rows = lock_with_followers(connection, ids)
    # A follower out of the same import goes with what it followed: it would be freed and then revoked otherwise.
    own = [row.id for row in rows.values() if row.import_id == import_id and row.state in UNFINISHED]
    if own:
        withdraw_locked(connection, rows, own, state=RequestState.REVOKED, reason=IMPORT_CANCELLED, actor="scheduler")
    if not ids:
        change_import(connection, importing, ImportState.CANCELLED, "import_ended", actor="scheduler")
    return len(own)
