"""A service with a scripted system for what becomes of pages, and a company with an org for the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.execution.systems.sync_config import sync_systems
from service.execution.worker_context import WorkerContext
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from service.suppression.scan_schedule import keep_syncs
from tests.integration.execution.select.rows import settings_with
from tests.integration.suppression.changing_system import SYSTEM, ChangingSystem
from workers import scan_changes as sync_suppression


@pytest.fixture
def changing(
    tmp_path: Path, database_url: str, key_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ChangingSystem]:
    settings = settings_with(data_directory=str(tmp_path / "data"))
    stores = Stores.open(database_url, key_database_url, load_secrets(settings))
    sync_systems(stores, settings)
    with stores.engine.begin() as connection:
        keep_syncs(connection, settings, [SYSTEM])
    runtime = WorkerContext(settings, stores)
    made = ChangingSystem(settings, stores, runtime)
    monkeypatch.setattr(sync_suppression.operations, "changed_since", made.changed_since)
    yield made
    runtime.close()
