"""After sealing and the end of the epoch, no identifier can be read from any file of a stopped installation.

The same search finds all of them while the epoch key exists, and in an installation without epochs: it can find.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base.values import Identifier, Record
from service.embedded import EmbeddedServers
from service.encryption.rotate_epochs import rotate_epochs
from service.requests.identifiers import seal_records
from service.requests.seal import seal_due_requests
from service.settings import Settings
from service.store.encryption.key_store import WITHOUT_EPOCH, batch_owner, request_owner
from service.store.encryption.sealing import seal
from service.store.encryption.secrets import load_secrets
from service.store.encryption.vacuum import KEY_TABLES, SEALED_TABLES, vacuum
from service.store.migrate import migrate, migrate_keys
from service.store.stores import Stores
from tests.integration.encryption.conftest import let_seal, settings_in, submit
from tests.integration.encryption.disk import Disk, SealedValue, recovered

PEOPLE = 60
_LONG = 300  # record ids: more than one chunk of TOAST

Ending = Callable[[Stores, Settings], None]


@pytest.fixture
def base() -> Iterator[Path]:
    """A short directory that the servers' account can enter."""
    directory = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def run(
    base: Path, settings: Settings, ending: Ending, *, wrap: Ending | None = None
) -> tuple[Disk, list[SealedValue]]:
    """Sixty people are accepted and sealed; the servers stop. Returns the disk and what had been stored sealed."""
    with EmbeddedServers(base / "data", outside=base / "outside") as running:
        migrate(running.database_url)
        migrate_keys(running.key_database_url)
        stores = Stores.open(running.database_url, running.key_database_url, load_secrets(settings))
        requests = [
            submit(
                stores,
                settings,
                Identifier("email", f"subject{n}@example.test"),
                Identifier("phone", f"+1202555{n:04d}"),
                Identifier("customer_id", f"customer-{n:06d}"),
            )
            for n in range(PEOPLE)
        ]
        if wrap is not None:
            wrap(stores, settings)
        values = [*identifiers(stores), *located_records(stores, requests[:5]), resume_token(stores)]
        let_seal(stores, *requests)
        assert seal_due_requests(stores) == PEOPLE
        ending(stores, settings)
        # What is left in the tables themselves is nothing, whatever the disk keeps.
        assert stores.keys.get([value.owner for value in values]) == {}
        stores.close()
    secret = bytes.fromhex((base / "data/keys/key_encryption_key").read_text())
    return Disk.read([base], secret), values


def identifiers(stores: Stores) -> list[SealedValue]:
    with stores.engine.begin() as connection:
        rows = connection.execute(text("SELECT id, request_id, sealed FROM identifiers")).all()
    return [
        SealedValue(request_owner(row.request_id), f"request/{row.request_id}/identifier/{row.id}", bytes(row.sealed))
        for row in rows
    ]


def located_records(stores: Stores, requests: list[UUID]) -> list[SealedValue]:
    """Ended steps with so many record ids that PostgreSQL keeps them in TOAST."""
    found = []
    for request_id in requests:
        step, owner = uuid4(), request_owner(request_id)
        records = [Record("Contact", f"003{n:015d}") for n in range(_LONG)]
        sealed = seal_records(stores.keys.one(owner), step, records)
        assert len(sealed) > 2 * 1996
        with stores.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO steps (id, request_id, system, position, phase, state, respond_by, records)"
                    " VALUES (:id, :request, 'crm', 1, 'confirm', 'absent', now(), :sealed)"
                ),
                {"id": step, "request": request_id, "sealed": sealed},
            )
        found.append(SealedValue(owner, f"step/{step}/records", sealed))
    return found


def resume_token(stores: Stores) -> SealedValue:
    batch = uuid4()
    owner = batch_owner(batch)
    sealed = seal(stores.keys.create([owner])[owner], b"resume after subject1@example.test", "token")
    with stores.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO batches (id, system, phase, resume_token) VALUES (:id, 'crm', 'erase', :sealed)"),
            {"id": batch, "sealed": sealed},
        )
        connection.execute(text("UPDATE batches SET ended_at = now(), resume_token = NULL"))
    stores.keys.destroy([owner])
    return SealedValue(owner, "token", sealed)


def vacuumed(stores: Stores, settings: Settings) -> None:
    vacuum(stores.key_engine, KEY_TABLES)
    vacuum(stores.engine, SEALED_TABLES)


def rotated(stores: Stores, settings: Settings) -> None:
    assert rotate_epochs(stores, settings, now=True).begun


def as_before_epochs(stores: Stores, settings: Settings) -> None:
    """Every data key wrapped under the key-encryption key itself."""
    secret = bytes.fromhex((settings.service.data_directory / "keys/key_encryption_key").read_text())
    with stores.key_engine.begin() as connection:
        owners = connection.execute(text("SELECT owner FROM data_keys")).scalars().all()
    keys = stores.keys.get(owners)
    with stores.key_engine.begin() as connection:
        for owner, key in keys.items():
            connection.execute(
                text("UPDATE data_keys SET wrapped = :w, wrapping_key_id = :id WHERE owner = :o"),
                {"w": seal(secret, key, f"data-key/{owner}"), "id": WITHOUT_EPOCH, "o": owner},
            )


def count_of_identifiers(values: list[SealedValue]) -> int:
    return sum("/identifier/" in value.context for value in values)


def test_nothing_sealed_can_be_read_from_the_disk(base: Path) -> None:
    settings = settings_in(base / "data", epoch_backup_seconds=0)

    disk, values = run(base, settings, rotated)

    assert count_of_identifiers(values) == 3 * PEOPLE
    assert disk.data_keys() == {}
    assert recovered(disk, values) == {}
    assert len(disk.wrapping_keys()) == 2  # the key-encryption key, and the current epoch's


@pytest.mark.parametrize("ending", [vacuumed, rotated])
def test_the_same_search_finds_all_while_the_epoch_key_exists(base: Path, ending: Ending) -> None:
    settings = settings_in(base / "data", epoch_backup_seconds=86400)

    disk, values = run(base, settings, ending)

    clear = recovered(disk, values)
    assert count_of_identifiers(list(clear)) == 3 * PEOPLE
    assert any("/records" in value.context for value in clear)


def test_the_same_search_finds_all_where_there_were_no_epochs(base: Path) -> None:
    settings = settings_in(base / "data", epoch_backup_seconds=0)

    disk, values = run(base, settings, rotated, wrap=as_before_epochs)

    clear = recovered(disk, values)
    assert count_of_identifiers(list(clear)) == 3 * PEOPLE
    assert sum("/records" in value.context for value in clear) == 5
