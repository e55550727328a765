"""Begin an import, or continue the one of this Idempotency-Key; note that its whole body has arrived.

Decides how an import is recognised: by the API key and the Idempotency-Key, as long as the import exists.
`accept_rows.py` decides the verdict on each line.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection

from service.domain.access.api_key import Caller
from service.domain.errors import IdempotencyConflict, Invalid, NotFound, WrongState
from service.domain.requests.idempotency import InvalidKey, parse_key
from service.domain.requests.imports import TAKES_LINES, ImportFormat, ImportState
from service.requests.imports.store import (
    ImportKey,
    StoredImport,
    insert_import,
    lock_import_by_key,
    lock_import_row,
    write_received,
    write_state,
)
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, version_of
from service.store.stores import Stores


@dataclass(frozen=True)
class Import:
    """An import that takes lines, and whose it is."""

    id: UUID
    submitted_by: UUID


def begin_import(stores: Stores, caller: Caller, key: str, file_format: ImportFormat) -> Import:
    """Raises Invalid, IdempotencyConflict, WrongState (it was cancelled)."""
    try:
        parse_key(key)
    except InvalidKey:
        raise Invalid("must match [A-Za-z0-9_-]{1,64}", field="Idempotency-Key") from None
    with stores.engine.begin() as connection:
        named = ImportKey(caller.key_id, key)
        running = ImportState.RUNNING.value
        is_new = insert_import(connection, named, import_id=uuid4(), file_format=file_format.value, state=running)
        row = lock_import_by_key(connection, named)
        if row.format != file_format:
            raise IdempotencyConflict("this key was used with a body of another format", field="Idempotency-Key")
        _must_take_lines(row)
        if is_new:
            _log(connection, row, "import_begun", caller.actor, format=file_format.value)
    return Import(row.id, row.submitted_by)


def receive_import(stores: Stores, importing: Import, *, lines: int, accepted: int, refused: int) -> None:
    """Its body came whole, with so many lines. Said of each time it is sent."""
    with stores.engine.begin() as connection:
        row = lock_import(connection, importing.id)
        write_received(connection, importing.id)
        actor = f"key:{importing.submitted_by}"
        _log(connection, row, "import_received", actor, lines=lines, accepted=accepted, refused=refused)


def lock_import(connection: Connection, import_id: UUID) -> StoredImport:
    """The import's row, locked until the transaction ends. Raises NotFound."""
    row = lock_import_row(connection, import_id)
    if row is None:
        raise NotFound("there is no such import")
    return row


def lock_open_import(connection: Connection, import_id: UUID) -> StoredImport:
    """The same, of an import that takes lines. Raises WrongState."""
    row = lock_import(connection, import_id)
    _must_take_lines(row)
    return row


def change_import(connection: Connection, row: StoredImport, state: ImportState, event: str, *, actor: str) -> None:
    """Write the state of a locked import, with its audit entry."""
    write_state(connection, row.id, state.value)
    _log(connection, row, event, actor)


def _must_take_lines(row: StoredImport) -> None:
    if row.state not in TAKES_LINES:
        raise WrongState("the import was cancelled")


def _log(connection: Connection, row: StoredImport, event: str, actor: str, **data: str | int) -> None:
    change = Change("import", str(row.id), version_of(row), event, None, data)
    log_changes(connection, [change], actor=actor, at=database_now(connection))
