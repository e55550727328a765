"""The schema that migrations make is the schema that the models say, and its fence stands."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.store.engine import open_engine
from service.store.migrate import migrate
from service.store.tables import metadata


def test_migrating_from_empty_equals_the_models(blank_database_url: str) -> None:
    migrate(blank_database_url)
    engine = open_engine(blank_database_url)
    with engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_migrating_twice_changes_nothing(blank_database_url: str) -> None:
    migrate(blank_database_url)
    migrate(blank_database_url)


def test_names_of_stored_duplicates_and_receipts_change(blank_database_url: str) -> None:
    migrate(blank_database_url, "0017")
    engine = open_engine(blank_database_url)
    with engine.begin() as connection:
        ids = [
            connection.execute(
                text(
                    "INSERT INTO requests (id, subject, kind, regime, state, reason, received_at, respond_by,"
                    " submitted_by, linked_to) VALUES (gen_random_uuid(), gen_random_uuid()::text, 'erasure', 'gdpr',"
                    " 'in_progress', :reason, now(), now(), gen_random_uuid(), :first) RETURNING id"
                ),
                {"reason": reason, "first": first},
            ).scalar_one()
            for reason, first in (("linked", None), ("erasing", None))
        ]
        for request_id, first in zip(ids, (ids[1], None), strict=True):
            connection.execute(
                text(
                    "INSERT INTO idempotency_keys (api_key_id, key, fingerprint, receipt, request_id, expires_at)"
                    " VALUES (gen_random_uuid(), 'k', '',"
                    " jsonb_build_object('kind', 'erasure', 'linked_to', CAST(:first AS text)), :id, now())"
                ),
                {"id": request_id, "first": None if first is None else str(first)},
            )

    migrate(blank_database_url)
    with engine.begin() as connection:
        reasons = connection.execute(text("SELECT reason FROM requests ORDER BY reason")).scalars().all()
        rows = connection.execute(text("SELECT request_id, receipt FROM idempotency_keys"))
        receipts = {row.request_id: row.receipt for row in rows}
    engine.dispose()
    assert reasons == ["duplicate", "erasing"]
    assert receipts == {
        ids[0]: {"kind": "erasure", "duplicate_of": str(ids[1])},
        ids[1]: {"kind": "erasure", "duplicate_of": None},
    }


@pytest.mark.parametrize("statement", ["DELETE FROM audit_leaves", "UPDATE audit_leaves SET entry = entry"])
def test_the_logs_rows_are_fenced(database_url: str, statement: str) -> None:
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_leaves (index, entry, leaf_hash)"
                " VALUES (0, decode('7b7d', 'hex'), decode('00', 'hex'))"
            )
        )
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_stored_entries_are_those_of_erased_people(blank_database_url: str) -> None:
    migrate(blank_database_url, "0018")
    engine = open_engine(blank_database_url)
    with engine.begin() as connection:
        request = connection.execute(
            text(
                "INSERT INTO requests (id, subject, kind, regime, state, received_at, respond_by, submitted_by)"
                " VALUES (gen_random_uuid(), 'one', 'erasure', 'gdpr', 'fulfilled', now(), now(), gen_random_uuid())"
                " RETURNING id"
            )
        ).scalar_one()
        connection.execute(
            text(
                "INSERT INTO suppression_entries (keyed_hash, request_id, kind, added_at)"
                " VALUES ('h', :r, 'email', now())"
            ),
            {"r": request},
        )

    migrate(blank_database_url)

    with engine.begin() as connection:
        assert connection.execute(text("SELECT scope FROM suppression_entries")).scalars().all() == ["erased"]
        assert connection.execute(text("SELECT scopes FROM requests")).scalars().all() == [["erased"]]
    engine.dispose()
