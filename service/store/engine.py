"""Connections to PostgreSQL, made the same way everywhere: no parameters in errors, no echo, pooled.

Decides when a pooled connection is asked whether it still lives: if its socket has something to say (a server that
ended has closed it), or after half a minute of silence (whatever is in between may have forgotten it). Asking each
time would cost as many words as the work itself.
"""

from __future__ import annotations

import json
import select
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from service.store.arrays import register_binary_arrays

_SILENT_SECONDS = 30.0
_USED_AT = "used_at"


def open_engine(url: str, *, pool_size: int = 5, plans_once: bool = False) -> Engine:
    """An engine whose errors never show parameters: they may be what we must not print.

    `plans_once`: for a process that says the same few hundred statements for ever. Each is planned for any values
    instead of anew for these: what to lease next cost three times as much to plan as to find (measured 2026-11-28).
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
        event.listen(engine, "connect", _told_to_plan_once)
    return engine


def _keep_alive(engine: Engine) -> None:
    def given_back(dbapi_connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    def taken(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        silent_since = record.info.get(_USED_AT)
        if silent_since is None:
            return  # Connected just now.
        if time.monotonic() - silent_since < _SILENT_SECONDS and not _has_something_to_say(dbapi_connection):
            return
        try:
            engine.dialect.do_ping(dbapi_connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # If one was cut off, the others were as well: the pool begins anew, and the caller gets a fresh one.
            raise InvalidatePoolError(type(error).__name__) from None

    event.listen(engine, "connect", _told_how_reading_costs)
    event.listen(engine, "checkin", given_back)
    event.listen(engine, "checkout", taken)


def _told_how_reading_costs(dbapi_connection: Any, record: Any) -> None:
    """A hundred rows by their keys are read by their keys, whatever the size of the table: by the default of spinning
    disks the planner reads tables of some ten thousand rows whole instead, for every batch (measured 2026-11-22)."""
    dbapi_connection.execute("SET random_page_cost = 1.1")
    dbapi_connection.commit()


def _told_to_plan_once(dbapi_connection: Any, record: Any) -> None:
    dbapi_connection.execute("SET plan_cache_mode = force_generic_plan")
    dbapi_connection.commit()


def _has_something_to_say(dbapi_connection: Any) -> bool:
    if dbapi_connection.closed:
        return True
    poller = select.poll()
    poller.register(dbapi_connection.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def _read_json(written: str | bytes) -> Any:
    """Most of the engine's JSON columns are empty in most rows, and a batch reads hundreds of them."""
    return {} if written in ("{}", b"{}") else json.loads(written)
