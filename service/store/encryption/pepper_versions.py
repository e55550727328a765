"""The fence against peppers other than the store's, and the change of all hashes to the next pepper.

Every new connection of a process compares the process's peppers with the store's, and the change ends all connections
that were opened before it. So no process can write or look up hashes of another version, not even a forgotten one on
another machine: its next statement fails with the reason.
"""

from __future__ import annotations

from uuid import uuid4

import psycopg
import structlog
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Update,
    bindparam,
    column,
    event,
    func,
    insert,
    select,
    table,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateIndex, CreateTable

from connectors.base.config import ConfigurationError
from service.store.audit_log.record_change import log_event
from service.store.bulk_copy import copy_rows
from service.store.encryption.keyed_hash import Pepper
from service.store.execute import execute, execute_on_driver
from service.store.locking import database_now
from service.store.sql_files import load_sql
from service.store.tables import metadata
from service.store.tables.encryption import PepperVersionRow

log = structlog.get_logger(__name__)

_LOCK = 0x50455050  # "PEPP": shared by processes that compare, exclusive for the one that changes.
_COMPARING = select(func.pg_advisory_xact_lock_shared(_LOCK))
_CHANGING = select(func.pg_advisory_xact_lock(_LOCK))
_VERSIONS = select(PepperVersionRow.check_value).order_by(PepperVersionRow.version)
_ADD_VERSION = insert(PepperVersionRow).values(version=bindparam("version"), check_value=bindparam("check_value"))
_ACTIVITY = table("pg_stat_activity", column("pid"), column("datname"), column("usename"), column("backend_type"))
_END_OTHER_CONNECTIONS = select(func.pg_terminate_backend(_ACTIVITY.c.pid)).where(
    _ACTIVITY.c.datname == func.current_database(),
    _ACTIVITY.c.usename == func.current_user(),
    _ACTIVITY.c.pid != func.pg_backend_pid(),
    _ACTIVITY.c.backend_type == "client backend",
)
_BROUGHT_UP = Table(
    "hashes_brought_up",
    MetaData(),
    Column("old", LargeBinary),
    Column("new", LargeBinary),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
_BY_OLD = Index("ix_hashes_brought_up_old", _BROUGHT_UP.c.old)
_ANALYZE = load_sql(__package__, "analyze_hashes")
_LOCK_TABLES = load_sql(__package__, "lock_hashed_tables")
_COPY = load_sql(__package__, "copy_hashes")
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

    def compare(dbapi_connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
        try:
            execute_on_driver(dbapi_connection, _COMPARING)
            theirs = [bytes(value) for value in execute_on_driver(dbapi_connection, _VERSIONS).scalars()]
        except psycopg.errors.UndefinedTable:
            theirs = []  # Not migrated yet: readiness reports that.
        finally:
            dbapi_connection.rollback()
        if theirs and theirs != ours:
            dbapi_connection.close()
            raise OtherPeppers(_reason(len(theirs), len(ours)))

    event.listen(engine, "connect", compare)


def bring_hashes_up(engine: Engine, pepper: Pepper) -> int:
    """Record this store's peppers; if some were added, bring every hash to the newest version.

    All hashes or none: one transaction, during which the tables are locked, of some 20,000 hashes a second. `engine`
    doesn't compare. Returns how many hashes were changed. Raises OtherPeppers if the store was made with peppers that
    aren't given.
    """
    with engine.begin() as connection:
        execute(connection, _CHANGING)
        ours = pepper.check_values()
        theirs = [bytes(value) for value in execute(connection, _VERSIONS).scalars()]
        if theirs != ours[: len(theirs)]:
            raise OtherPeppers(_reason(len(theirs), len(ours)))
        known = len(theirs) or 1
        changed = _bring_up(connection, pepper, known) if known < pepper.version else 0
        for version in range(len(theirs), pepper.version):
            execute(connection, _ADD_VERSION, {"version": version + 1, "check_value": ours[version]})
        if known < pepper.version:
            _log(connection, pepper.version, changed)
            execute(connection, _END_OTHER_CONNECTIONS)
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


def _bring_up(connection: Connection, pepper: Pepper, since: int) -> int:
    execute(connection, _LOCK_TABLES)
    connection.execute(CreateTable(_BROUGHT_UP))
    count = 0
    stored = connection.execute(_every_hash(), execution_options={"yield_per": _PAGE})
    for page in stored.scalars().partitions(_PAGE):
        count += len(page)
        copy_rows(connection, _COPY, ("bytea", "bytea"), ((old, pepper.bring_up(old, since=since)) for old in page))
    connection.execute(CreateIndex(_BY_OLD))
    execute(connection, _ANALYZE)
    for hashed in HASHES:
        connection.execute(_update(*hashed))
    for hashed in HASH_ARRAYS:
        connection.execute(_update_array(*hashed))
    return count


def _every_hash() -> Select[bytes]:
    single = [select(_column(*hashed).label("hash")) for hashed in HASHES]
    arrays = [select(func.unnest(_column(*hashed)).label("hash")) for hashed in HASH_ARRAYS]
    every = union_all(*single, *arrays).subquery("h")
    return select(every.c.hash).distinct().where(every.c.hash.is_not(None))


def _update(name: str, of: str) -> Update:
    old = _column(name, of)
    return update(metadata.tables[name]).values({old: _BROUGHT_UP.c.new}).where(old == _BROUGHT_UP.c.old)


def _update_array(name: str, of: str) -> Update:
    """Return the UPDATE of arrays of hashes. Their order stays, and so do NULL and the empty array."""
    old = _column(name, of)
    n = func.unnest(old).table_valued(column("hash", LargeBinary), with_ordinality="place").render_derived(name="n")
    new = (
        select(func.array_agg(aggregate_order_by(_BROUGHT_UP.c.new, n.c.place)))
        .select_from(n.join(_BROUGHT_UP, _BROUGHT_UP.c.old == n.c.hash))
        .scalar_subquery()
    )
    return update(metadata.tables[name]).values({old: new}).where(func.cardinality(old) > 0)


def _column(name: str, of: str) -> Column[bytes]:
    return metadata.tables[name].c[of]


def _reason(theirs: int, ours: int) -> str:
    if ours < theirs:
        return f"keys.added_peppers: this store's hashes need {theirs} peppers, and {ours} are given"
    if ours > theirs:
        return "keys.added_peppers: a pepper was added; stop every process, then start the service, which takes it"
    return "keys.pepper: this store's hashes were made with another pepper; nobody would be recognised"
