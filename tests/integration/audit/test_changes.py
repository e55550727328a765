"""A row's change, its counter and its entry are one statement, and nothing is logged about a row that isn't there."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format
from sqlalchemy import Connection, Engine, Integer, bindparam, literal, text, update
from sqlalchemy.exc import DBAPIError

from service.domain.audit.entry import digest_of, position_of
from service.domain.requests.states import RequestState
from service.requests.records.changes import withdraw
from service.store.arrays import BinaryArray
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, RowNotThere, Version, chain_entries, log_changes
from service.store.engine import open_engine
from service.store.tables.requests import RequestRow
from tests.integration.statements_said import statements_said

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_INSERT = text(
    "INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, respond_by, submitted_by)"
    " VALUES (:id, :subject, 'erasure', '{erased}', 'gdpr', 'open', now(), now(), :id)"
)


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_engine(database_url)


@pytest.fixture
def rows(engine: Engine) -> list[UUID]:
    made = [uuid4(), uuid4()]
    with engine.begin() as connection:
        connection.execute(_INSERT, [{"id": row, "subject": row.hex} for row in made])
    return made


def change(row: UUID, says: str = "request_expedited", **data: str) -> Change:
    return Change("request", str(row), Version(), says, row.hex, data)


def stored(connection: Connection, row: UUID) -> tuple[str, int, bytes]:
    found = connection.execute(text("SELECT state, version, entry_hash FROM requests WHERE id = :i"), {"i": row}).one()
    return found.state, found.version, bytes(found.entry_hash)


def pending(connection: Connection) -> list[bytes]:
    return [bytes(entry) for entry in connection.execute(text("SELECT entry FROM audit_pending ORDER BY id")).scalars()]


def test_a_change_travels_with_its_entry_and_counter_in_one_statement(engine: Engine, rows: list[UUID]) -> None:
    with engine.begin() as connection, statements_said() as statements:
        changes = [change(row, says="request_denied", reason="no_match") for row in rows]
        withdraw(connection, changes, state=RequestState.DENIED, reason="no_match", actor="worker", at=AT)
    assert len(statements) == 1
    with engine.begin() as connection:
        entries = pending(connection)
        assert [position_of(entry).object_id for entry in entries] == [str(row) for row in rows]
        for row, entry in zip(rows, entries, strict=True):
            assert stored(connection, row) == ("denied", 1, bytes.fromhex(digest_of(entry)))


def test_several_entries_of_one_row_and_of_several_kinds_are_one_statement(engine: Engine, rows: list[UUID]) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO systems (name, connector, state, fingerprint, position, max_concurrency)"
                " VALUES ('desk', 'zendesk', 'active', 'ab', 1, 1)"
            )
        )
        changes = [change(rows[0]), change(rows[0]), Change("system", "desk", Version(), "system_removed")]
        with statements_said() as statements:
            versions = log_changes(connection, changes, actor="worker", at=AT)
    assert len(statements) == 1
    with engine.begin() as connection:
        assert [position_of(entry).version for entry in pending(connection)] == [1, 2, 1]
        assert stored(connection, rows[0])[1:] == (2, versions[("request", str(rows[0]))].entry_hash)
        assert connection.execute(text("SELECT version FROM systems")).scalar_one() == 1


def test_a_change_that_the_store_refuses_shows_no_value(engine: Engine, rows: list[UUID]) -> None:
    divided = (
        update(RequestRow)
        .where(RequestRow.id == rows[0])
        .values(reason=bindparam("reason"), consecutive_attempts=literal(100) % 7 / bindparam("none", type_=Integer()))
    )
    entries, _ = chain_entries([change(rows[0])], actor="worker", at=AT)
    refused = pytest.raises(DBAPIError, match="division by zero")
    with refused as error, engine.begin() as connection:
        append_with(connection, entries, divided, {"reason": "said_by_ada", "none": 0})
    assert "ada" not in f"{error.value}{error.value!r}"
    with engine.begin() as connection:
        assert pending(connection) == []


def test_nothing_is_logged_about_a_row_that_is_not_there(engine: Engine, rows: list[UUID]) -> None:
    gone = change(uuid4())
    with pytest.raises(RowNotThere), engine.begin() as connection:
        log_changes(connection, [change(rows[0]), gone], actor="worker", at=AT)
    with pytest.raises(RowNotThere), engine.begin() as connection:
        withdraw(connection, [gone], state=RequestState.DENIED, reason=None, actor="worker", at=AT)
    with engine.begin() as connection:
        assert pending(connection) == []


def test_no_change_is_no_statement(engine: Engine) -> None:
    with engine.begin() as connection, statements_said() as statements:
        assert log_changes(connection, [], actor="worker", at=AT) == {}
        withdraw(connection, [], state=RequestState.DENIED, reason=None, actor="worker", at=AT)
    assert statements == []


def test_entries_travel_in_binary_whatever_bytes_and_gaps_they_have(engine: Engine) -> None:
    sent = [bytes(range(256)), b"", b'{"\\":,}', "Ünïcode".encode()]
    words = ["a,b", 'quote"', "back\\slash", None, "{}", "NULL", ""]
    with engine.connect() as connection:
        back = connection.execute(text("SELECT unnest(CAST(:sent AS bytea[]))"), {"sent": BinaryArray(sent)}).scalars()
        assert [bytes(each) for each in back] == sent
        found = connection.execute(
            text("SELECT unnest(CAST(:words AS text[]))"), {"words": BinaryArray(words)}
        ).scalars()
        assert list(found) == words
        assert (
            list(connection.execute(text("SELECT unnest(CAST(:n AS bytea[]))"), {"n": BinaryArray([])}).scalars()) == []
        )
        dumpers = Transformer(connection.connection.driver_connection)
        assert dumpers.get_dumper(BinaryArray(sent), PyFormat.AUTO).format == Format.BINARY
