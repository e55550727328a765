"""Record in the main store which beginnings and ends of epochs the audit log has.

The key store is another database, so that its change and the audit entry can't share a transaction. The entry is
written afterwards, together with the row here; if a process dies in between, the next one writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from service.domain.encryption.epochs import EncryptionEpoch, EpochState
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.locking import database_now, version_of
from service.store.tables.encryption import EncryptionEpochRow

_epochs = EncryptionEpochRow.__table__
_BEGUN = "begun"
_ENDINGS = {EpochState.DESTROYED: "encryption_epoch_destroyed", EpochState.LOST: "encryption_epoch_lost"}


def log_epochs(engine: Engine, epochs: Sequence[EncryptionEpoch], *, actor: str) -> int:
    """Write the entries that the audit log doesn't have yet about these epochs. Returns how many."""
    logged = 0
    with engine.begin() as connection:
        known = {row.id: row.state for row in connection.execute(select(_epochs.c.id, _epochs.c.state))}
        for epoch in epochs:
            if known.get(epoch.id) != (epoch.state if epoch.state in _ENDINGS else _BEGUN):
                logged += _log_beginning(connection, epoch, actor) + _log_end(connection, epoch, actor)
    return logged


def _log_beginning(connection: Connection, epoch: EncryptionEpoch, actor: str) -> int:
    row = insert_or_keep(EncryptionEpochRow).values(id=epoch.id, state=_BEGUN).on_conflict_do_nothing()
    if connection.execute(row.returning(_epochs.c.id)).one_or_none() is None:
        return 0
    change = Change("encryption_epoch", str(epoch.id), Version(), "encryption_epoch_begun")
    log_changes(connection, [change], actor=actor, at=database_now(connection))
    return 1


def _log_end(connection: Connection, epoch: EncryptionEpoch, actor: str) -> int:
    if epoch.state not in _ENDINGS:
        return 0
    row = connection.execute(select(_epochs).where(_epochs.c.id == epoch.id).with_for_update(key_share=True)).one()
    if row.state == epoch.state:
        return 0
    connection.execute(update(EncryptionEpochRow).where(_epochs.c.id == epoch.id).values(state=epoch.state.value))
    change = Change("encryption_epoch", str(epoch.id), version_of(row), _ENDINGS[epoch.state])
    log_changes(connection, [change], actor=actor, at=database_now(connection))
    return 1
