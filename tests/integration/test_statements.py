"""One statement on a pooled connection; what a broken connection and a moved server come to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.requests.records.insert import StoreMoved, on_one_server
from service.store import engine as engines
from service.store.autocommit import Autocommit
from service.store.encryption.epoch_files import EpochFiles
from service.store.encryption.key_encryption_keys import fixed_keys
from service.store.encryption.key_store import KeyStore
from service.store.engine import open_engine


@pytest.fixture
def engine(key_database_url: str) -> Iterator[Engine]:
    opened = open_engine(key_database_url)
    yield opened
    opened.dispose()


def test_a_statement_is_committed_and_the_pool_is_as_before(engine: Engine) -> None:
    autocommit = Autocommit(engine)
    insert = "INSERT INTO data_keys (owner, wrapped, wrapping_key_id) VALUES (%(o)s, '', 'k')"

    assert autocommit.execute(insert, {"o": "request/1"}) == []
    with pytest.raises(IntegrityError) as refused:
        autocommit.execute(insert, {"o": "request/1"})
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM data_keys"))
        connection.rollback()

    assert [row.owner for row in autocommit.execute("SELECT owner FROM data_keys", {})] == ["request/1"]
    assert "request/1" not in str(refused.value).replace("Key (owner)=(request/1)", "")
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def _end_the_others(engine: Engine, url: str) -> None:
    other = open_engine(url)
    with other.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
        )
    other.dispose()


def test_a_connection_that_was_ended_while_it_lay_in_the_pool_is_not_handed_out(
    engine: Engine, key_database_url: str
) -> None:
    autocommit = Autocommit(engine)
    for _ in range(2):
        autocommit.execute("SELECT 1", {})
        _end_the_others(engine, key_database_url)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        _end_the_others(engine, key_database_url)
        assert len(autocommit.execute("SELECT 1", {})) == 1


def test_without_the_look_it_would_be(engine: Engine, key_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    autocommit = Autocommit(engine)
    autocommit.execute("SELECT 1", {})
    _end_the_others(engine, key_database_url)
    monkeypatch.setattr(engines, "_has_input", lambda connection: False)

    with pytest.raises(OperationalError):
        autocommit.execute("SELECT 1", {})
    assert len(autocommit.execute("SELECT 1", {})) == 1


def test_a_server_that_is_down_is_an_error_of_sqlalchemy(key_database_url: str) -> None:
    """The API answers 503 to those, and 500 to an error of the driver itself."""
    url = make_url(key_database_url).set(host="127.0.0.1", port=9, query={})
    unreachable = open_engine(url.render_as_string(hide_password=False))

    with pytest.raises(OperationalError):
        Autocommit(unreachable).execute("SELECT 1", {})


def test_a_connection_long_silent_is_asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    ping = engine.dialect.do_ping
    monkeypatch.setattr(engine.dialect, "do_ping", lambda connection: asked.append(connection) or ping(connection))
    autocommit = Autocommit(engine)
    autocommit.execute("SELECT 1", {})
    autocommit.execute("SELECT 1", {})
    assert asked == []

    monkeypatch.setattr(engines, "_SILENT_SECONDS", -1.0)
    autocommit.execute("SELECT 1", {})

    assert len(asked) == 1


def test_a_new_key_is_waited_for_unless_the_callers_commit_makes_it_durable(engine: Engine, tmp_path: Path) -> None:
    wrapping = fixed_keys(bytes(32))
    keys = KeyStore(engine, EpochFiles(tmp_path, wrapping), wrapping)
    # What a transaction waits for at its end is noted by the last thing that it does.
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE noted (owner text, waits text)"))
        connection.execute(
            text(
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " INSERT INTO noted VALUES (NEW.owner, current_setting('synchronous_commit')); RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER note AFTER INSERT ON data_keys DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION note()"
            )
        )
        connection.execute(
            text(
                "ALTER DATABASE CURRENT_DATABASE SET synchronous_commit = 'on'".replace(
                    "CURRENT_DATABASE", str(engine.url.database)
                )
            )
        )
        started_at = connection.execute(text("SELECT pg_postmaster_start_time()")).scalar_one()
    engine.dispose()

    here = keys.create_new(["request/here"], server_started_at=started_at)
    keys.create_new(["request/elsewhere"], server_started_at=datetime(2026, 1, 1, tzinfo=UTC))
    keys.create_new(["request/alone"])

    with engine.begin() as connection:
        noted = {row.owner: row.waits for row in connection.execute(text("SELECT owner, waits FROM noted"))}
        left = connection.execute(text("SELECT current_setting('synchronous_commit')")).scalar_one()
    assert noted == {"request/here": "off", "request/elsewhere": "on", "request/alone": "on"}
    assert left == "on"
    assert keys.get(["request/here", f"request/{uuid4()}"]) == here


def test_a_store_that_moved_meanwhile_is_not_written_to(engine: Engine) -> None:
    autocommit = Autocommit(engine)
    with pytest.raises(StoreMoved), on_one_server():
        autocommit.execute(
            "SELECT 1 / CAST(pg_postmaster_start_time() = %(server)s AS integer)",
            {"server": datetime(2026, 1, 1, tzinfo=UTC)},
        )
