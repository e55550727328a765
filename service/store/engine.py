"""Open connections to PostgreSQL in one way for all processes: pooled, no parameters in errors.

Decides when a pooled connection is tested before its use: if its socket has input (a server that ended has closed it),
or after half a minute of silence (a firewall between may have dropped it). A test before each use would cost as many
round trips as the work itself.
"""

from __future__ import annotations

import json
import select
import time

import psycopg
from sqlalchemy import Engine, create_engine, event, func
from sqlalchemy import select as select_rows
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from service.store.arrays import register_binary_arrays
from service.store.execute import execute_on_driver

_SILENT_SECONDS = 30.0
_USED_AT = "used_at"
# SET as an expression: the last argument False is for the session.
_PAGE_COST = select_rows(func.set_config("random_page_cost", "1.1", False))
_GENERIC_PLANS = select_rows(func.set_config("plan_cache_mode", "force_generic_plan", False))


def open_engine(url: str, *, pool_size: int = 5, plans_once: bool = False) -> Engine:
    """Return an engine whose errors never show parameters, because these may be personal data.

    `plans_once`: for a process that executes the same few hundred statements all the time. Each is planned once, for
    any values: planning the selection of a batch took three times as long as its execution (measured 2026-11-28).
    """
    register_binary_arrays()
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        json_deserializer=_read_json,
        connect_args={"application_name": "expunge", "connect_timeout": 10},
    )
    _keep_alive(engine)
    if plans_once:
        event.listen(engine, "connect", _set_generic_plans)
    return engine


def _keep_alive(engine: Engine) -> None:
    def given_back(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    def taken(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        silent_since = record.info.get(_USED_AT)
        if silent_since is None:
            return  # Connected just now.
        if time.monotonic() - silent_since < _SILENT_SECONDS and not _has_input(dbapi_connection):
            return
        try:
            engine.dialect.do_ping(dbapi_connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # If one was cut off, the others were as well: the pool begins anew, and the caller gets a fresh one.
            raise InvalidatePoolError(type(error).__name__) from None

    event.listen(engine, "connect", _set_page_cost)
    event.listen(engine, "checkin", given_back)
    event.listen(engine, "checkout", taken)


def _set_page_cost(dbapi_connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    """Set the cost of random reads for an SSD, so that rows of a large table are found by their keys.

    With the default, which is for spinning disks, the planner reads tables of some ten thousand rows whole to find a
    hundred, for every batch (measured 2026-11-22).
    """
    execute_on_driver(dbapi_connection, _PAGE_COST)
    dbapi_connection.commit()


def _set_generic_plans(dbapi_connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    execute_on_driver(dbapi_connection, _GENERIC_PLANS)
    dbapi_connection.commit()


def _has_input(dbapi_connection: DBAPIConnection) -> bool:
    """Return True if the socket has input: a server that ended has closed it."""
    if dbapi_connection.closed:
        return True
    poller = select.poll()
    poller.register(dbapi_connection.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def _read_json(written: str | bytes) -> object:
    """Parse a JSON value.

    Most JSON columns are empty in most rows, and a batch reads hundreds of them.
    """
    return {} if written in ("{}", b"{}") else json.loads(written)
