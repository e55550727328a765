"""What held keys or sealed values is vacuumed before the key of its epoch is destroyed."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Engine, LargeBinary, text

from connectors.base.values import Identifier
from service.encryption.rotate_epochs import rotate_epochs
from service.requests.seal import seal_due_requests
from service.settings import Settings
from service.store.encryption.epoch_files import EpochFiles
from service.store.encryption.vacuum import KEY_TABLES, SEALED_TABLES
from service.store.stores import Stores
from service.store.tables.base import Base
from tests.integration.encryption.conftest import let_seal, submit

# Neither keys nor sealed values: hashes, and the audit log's entries, which name nobody.
OPEN_COLUMNS = {"check_value", "entry", "fingerprint", "import_fingerprint", "root"}


def vacuums(engine: Engine) -> dict[str, int]:
    """How often each table was vacuumed by a command."""
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT relname, vacuum_count FROM pg_stat_user_tables")).all()
    return {row.relname: row.vacuum_count for row in rows}


def all_vacuums(stores: Stores) -> dict[str, int]:
    both = vacuums(stores.engine) | vacuums(stores.key_engine)
    return {table: both[table] for table in (*KEY_TABLES, *SEALED_TABLES)}


def test_every_table_with_sealed_values_is_vacuumed() -> None:
    sealed = {
        table.name
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column.name not in OPEN_COLUMNS and not column.name.endswith("hash")
    }
    assert sealed - set(KEY_TABLES) == set(SEALED_TABLES)


def test_tables_are_vacuumed_before_the_epoch_key_is_destroyed(
    stores: Stores, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_seal(stores, submit(stores, settings, Identifier("email", "subject@example.test")))
    assert seal_due_requests(stores) == 1
    before, at_destruction = all_vacuums(stores), []
    destroy = EpochFiles.destroy

    def watched(self: EpochFiles, epoch_id: UUID) -> None:
        at_destruction.append(all_vacuums(stores))
        destroy(self, epoch_id)

    monkeypatch.setattr(EpochFiles, "destroy", watched)
    assert rotate_epochs(stores, settings, now=True).destroyed == 1

    assert at_destruction == [{table: count + 1 for table, count in before.items()}]
