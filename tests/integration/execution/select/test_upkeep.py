"""What grows with finished work is taken away in bounded sets, and orphaned keys are found behind many live ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from service.execution.archive_attempts import archive_attempts
from service.execution.expire_leases import sweep_orphan_keys
from service.store.encryption.key_store import batch_owner, request_owner
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.integration.execution.select.rows import Desk, settings_with


@pytest.fixture
def stores(tmp_path: Path, database_url: str, key_database_url: str) -> Iterator[Stores]:
    settings = settings_with(data_directory=str(tmp_path))
    opened = Stores.open(database_url, key_database_url, load_secrets(settings))
    yield opened
    opened.close()


def test_orphaned_keys_are_found_behind_the_keys_of_long_requests(desk: Desk, stores: Stores) -> None:
    desk.add(5)
    alive = [row.id for row in desk.rows("SELECT id FROM requests")]
    batch = desk.batch()
    owners = [request_owner(i) for i in alive] + [batch_owner(batch)]
    orphans = [request_owner(UUID(int=2**128 - 1)), batch_owner(UUID(int=2**128 - 1))]
    stores.keys.create([*owners, *orphans])

    assert sweep_orphan_keys(stores, page=2) == 0  # nothing is old enough
    assert sweep_orphan_keys(stores, older_than_seconds=0.0, page=2) == 2
    assert set(stores.keys.get([*owners, *orphans])) == set(owners)


def test_no_key_is_swept_while_the_store_may_be_an_older_one(desk: Desk, stores: Stores) -> None:
    """In a restored store newer requests are missing, and come back with a newer backup."""
    owner = request_owner(UUID(int=7))
    stores.keys.create([owner])
    desk.write("INSERT INTO anchor_conflicts (anchor, code, detail) VALUES ('file', 'smaller', '')")

    assert sweep_orphan_keys(stores, older_than_seconds=0.0) == 0
    desk.write("UPDATE anchor_conflicts SET accepted_at = clock_timestamp(), accepted_by = 'somebody'")
    assert sweep_orphan_keys(stores, older_than_seconds=0.0) == 1


def test_a_key_of_an_owner_of_another_kind_is_not_swept(desk: Desk, stores: Stores) -> None:
    stores.keys.create(["epoch/7"])

    assert sweep_orphan_keys(stores, older_than_seconds=0.0) == 0


def attempt(desk: Desk, batch: UUID) -> None:
    desk.write(
        "INSERT INTO attempts (step_id, batch_id, fence, phase, number, started_at)"
        " SELECT s.id, :b, 1, 'erase', 1, now() FROM steps s",
        b=batch,
    )


def test_attempts_of_requests_that_were_sealed_long_ago_are_deleted_in_bounded_sets(desk: Desk) -> None:
    settings = settings_with()
    desk.add(5, state="absent", phase="confirm")
    shared, own = desk.batch(), desk.batch()
    attempt(desk, shared)
    desk.write("UPDATE batches SET ended_at = now()")
    old = [row.id for row in desk.rows("SELECT id FROM requests ORDER BY id LIMIT 3")]
    desk.write("UPDATE requests SET sealed_at = now() - interval '91 days' WHERE id = ANY(:ids)", ids=old)
    young = desk.rows("SELECT id FROM requests WHERE sealed_at IS NULL ORDER BY id")[0].id
    desk.write("UPDATE requests SET sealed_at = now() - interval '89 days' WHERE id = :id", id=young)

    assert [archive_attempts(desk.stores, settings, limit=2) for _ in range(3)] == [2, 1, 0]
    left = {row.request_id for row in desk.rows("SELECT s.request_id FROM attempts a JOIN steps s ON s.id = a.step_id")}
    assert len(left) == 2
    assert young in left
    assert not left & set(old)
    # A batch is kept while somebody's attempt speaks of it, and this one nobody spoke of was not asked for.
    assert {row.id for row in desk.rows("SELECT id FROM batches")} == {shared, own}
    desk.write("UPDATE requests SET sealed_at = now() - interval '91 days'")
    assert archive_attempts(desk.stores, settings) == 2
    assert {row.id for row in desk.rows("SELECT id FROM batches")} == {own}


def test_a_batch_that_a_step_still_names_is_not_deleted(desk: Desk) -> None:
    """No foreign key would keep it any more."""
    named, forgotten = desk.batch(), desk.batch()
    desk.add(2, state="absent", phase="confirm", batch=named)
    attempt(desk, named)
    desk.write(
        "INSERT INTO attempts (step_id, batch_id, fence, phase, number, started_at)"
        " SELECT s.id, :b, 1, 'erase', 2, now() FROM steps s",
        b=forgotten,
    )
    desk.write("UPDATE batches SET ended_at = now()")
    desk.write("UPDATE requests SET sealed_at = now() - interval '91 days'")
    assert archive_attempts(desk.stores, settings_with()) == 2
    assert {row.id for row in desk.rows("SELECT id FROM batches")} == {named}
