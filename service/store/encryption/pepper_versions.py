"""Which peppers the main store's hashes were made with: the fence against other peppers, and the change to the next.

Every new connection of a process compares the process's peppers with the store's, and the change ends all connections
that were opened before it. So no process can write or look up hashes of another version, also one that was forgotten
on another machine: its next statement fails and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psycopg
import structlog
from sqlalchemy import Connection, Engine, event, func, insert, select, text

from connectors.base.config import ConfigurationError
from service.store.audit_log.record_change import log_event
from service.store.encryption.keyed_hash import Pepper
from service.store.locking import database_now
from service.store.tables.encryption import PepperVersionRow

log = structlog.get_logger(__name__)

_LOCK = 0x50455050  # "PEPP": shared by those who compare, exclusive for the one who changes.
_VERSIONS = "SELECT check_value FROM pepper_versions ORDER BY version"
_COPY = "COPY hashes_brought_up FROM STDIN (FORMAT BINARY)"
_PAGE = 20_000
# Every column of keyed hashes, single ones and arrays.
HASHES = (
    ("identifiers", "keyed_hash"),
    ("suppression_entries", "keyed_hash"),
    ("hold_hashes", "keyed_hash"),
    ("reappearances", "record_hash"),
    ("idempotency_keys", "fingerprint"),
    ("requests", "import_fingerprint"),
)
HASH_ARRAYS = (("steps", "record_hashes"), ("steps", "job_hashes"))


class OtherPeppers(ConfigurationError):  # noqa: N818 - says what is true
    """The store's hashes were made with other peppers than this process has. Nothing was read or written."""


def refuse_other_peppers(engine: Engine, pepper: Pepper) -> None:
    """Have each new connection of this engine compare; it raises OtherPeppers if they differ."""
    ours = pepper.check_values()

    def compare(dbapi_connection: Any, record: Any) -> None:
        try:
            dbapi_connection.execute(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
            theirs = [bytes(row[0]) for row in dbapi_connection.execute(_VERSIONS).fetchall()]
        except psycopg.errors.UndefinedTable:
            theirs = []  # Not migrated yet: readiness says so.
        finally:
            dbapi_connection.rollback()
        if theirs and theirs != ours:
            dbapi_connection.close()
            raise OtherPeppers(_reason(len(theirs), len(ours)))

    event.listen(engine, "connect", compare)


def bring_hashes_up(engine: Engine, pepper: Pepper) -> int:
    """Record this store's peppers; if some were added, bring every hash to the newest version, all or none.

    `engine` doesn't compare. One transaction, during which the tables are locked: some 20,000 hashes a second. Returns
    how many hashes were changed. Raises OtherPeppers if the store was made with peppers that aren't given.
    """
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        ours = pepper.check_values()
        theirs = [bytes(value) for value in connection.execute(text(_VERSIONS)).scalars()]
        if theirs != ours[: len(theirs)]:
            raise OtherPeppers(_reason(len(theirs), len(ours)))
        known = len(theirs) or 1
        changed = 0
        if known < pepper.version:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            changed = _bring_up(driver, pepper, known)
        for version in range(len(theirs), pepper.version):
            connection.execute(insert(PepperVersionRow).values(version=version + 1, check_value=ours[version]))
        if known < pepper.version:
            _log(connection, pepper.version, changed)
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
            )
    return changed


def _log(connection: Connection, version: int, hashes: int) -> None:
    log_event(
        connection,
        row="pepper",
        key=str(uuid4()),
        event="pepper_added",
        actor="service",
        at=database_now(connection),
        data={"version": version, "hashes": hashes},
    )
    log.warning("pepper_added", version=version, hashes=hashes)


def _bring_up(connection: psycopg.Connection[Any], pepper: Pepper, since: int) -> int:
    tables = dict.fromkeys(table for table, _ in (*HASHES, *HASH_ARRAYS))
    connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    connection.execute("CREATE TEMPORARY TABLE hashes_brought_up (old bytea, new bytea) ON COMMIT DROP")
    count = 0
    with connection.cursor(name="hashes_to_bring_up") as cursor:
        cursor.execute(_every_hash())
        while rows := cursor.fetchmany(_PAGE):
            count += len(rows)
            with connection.cursor() as writer, writer.copy(_COPY) as copy:
                copy.set_types(["bytea", "bytea"])
                for (old,) in rows:
                    copy.write_row((old, pepper.bring_up(old, since=since)))
    connection.execute("CREATE INDEX ON hashes_brought_up (old)")
    connection.execute("ANALYZE hashes_brought_up")
    for table, column in HASHES:
        connection.execute(
            f"UPDATE {table} SET {column} = h.new FROM hashes_brought_up h WHERE {table}.{column} = h.old"  # noqa: S608
        )
    for table, column in HASH_ARRAYS:
        # In their order; NULL and the empty array stay as they are.
        connection.execute(
            f"UPDATE {table} SET {column} = (SELECT array_agg(h.new ORDER BY n.place)"  # noqa: S608 - our own names
            f" FROM unnest({column}) WITH ORDINALITY AS n(hash, place) JOIN hashes_brought_up h ON h.old = n.hash)"
            f" WHERE {column} <> '{{}}'"
        )
    return count


def _every_hash() -> bytes:
    single: Sequence[str] = [f"SELECT {column} AS hash FROM {table}" for table, column in HASHES]  # noqa: S608
    arrays: Sequence[str] = [f"SELECT unnest({column}) FROM {table}" for table, column in HASH_ARRAYS]  # noqa: S608
    every = " UNION ALL ".join([*single, *arrays])
    return f"SELECT DISTINCT hash FROM ({every}) AS h WHERE hash IS NOT NULL".encode()  # noqa: S608 - our own names


def _reason(theirs: int, ours: int) -> str:
    if ours < theirs:
        return f"keys.added_peppers: this store's hashes need {theirs} peppers, and {ours} are given"
    if ours > theirs:
        return "keys.added_peppers: a pepper was added; stop every process, then start the service, which takes it"
    return "keys.pepper: this store's hashes were made with another pepper; nobody would be recognised"
