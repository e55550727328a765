"""Begin an import, or go on with the one that this Idempotency-Key began; and note that its body came whole.

Decides what an import is known by: the API key and the Idempotency-Key, for as long as the import is there. What
becomes of each line is accept_lines' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text, update

from service.domain.access.api_key import Caller
from service.domain.errors import IdempotencyConflict, Invalid, NotFound, WrongState
from service.domain.requests.idempotency import InvalidKey, parse_key
from service.domain.requests.imports import TAKES_LINES, ImportFormat, ImportState
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, version_of
from service.store.stores import Stores
from service.store.tables.imports import ImportRow

_BEGIN = text(
    "INSERT INTO imports (id, submitted_by, key, format, state) VALUES (:id, :by, :key, :format, :state)"
    " ON CONFLICT (submitted_by, key) DO NOTHING"
)
_BY_KEY = text("SELECT * FROM imports WHERE submitted_by = :by AND key = :key FOR NO KEY UPDATE")


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
        values = {"id": uuid4(), "by": caller.key_id, "key": key, "format": file_format, "state": ImportState.RUNNING}
        is_new = connection.execute(_BEGIN, values).rowcount
        row = connection.execute(_BY_KEY, {"by": caller.key_id, "key": key}).one()
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
        connection.execute(
            text("UPDATE imports SET received_at = clock_timestamp() WHERE id = :id"), {"id": importing.id}
        )
        actor = f"key:{importing.submitted_by}"
        _log(connection, row, "import_received", actor, lines=lines, accepted=accepted, refused=refused)


def lock_import(connection: Connection, import_id: UUID) -> Row[Any]:
    """The import's row, locked until the transaction ends. Raises NotFound."""
    row = connection.execute(
        text("SELECT * FROM imports WHERE id = :id FOR NO KEY UPDATE"), {"id": import_id}
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such import")
    return row


def lock_open_import(connection: Connection, import_id: UUID) -> Row[Any]:
    """The same, of an import that takes lines. Raises WrongState."""
    row = lock_import(connection, import_id)
    _must_take_lines(row)
    return row


def change_import(connection: Connection, row: Row[Any], state: ImportState, event: str, *, actor: str) -> None:
    """Write the state of a locked import, with its audit entry."""
    connection.execute(update(ImportRow).where(ImportRow.id == row.id).values(state=state))
    _log(connection, row, event, actor)


def _must_take_lines(row: Row[Any]) -> None:
    if row.state not in TAKES_LINES:
        raise WrongState("the import was cancelled")


def _log(connection: Connection, row: Row[Any], event: str, actor: str, **data: str | int) -> None:
    change = Change("import", str(row.id), version_of(row), event, None, data)
    log_changes(connection, [change], actor=actor, at=database_now(connection))
