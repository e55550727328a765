"""New requests' rows, written with their identifiers and audit entries by one statement, one or many.

Decides how a request comes into the store: its first entry's hash stands in the row from the beginning, so nothing is
updated afterwards. What the rows say is decided by the use case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from service.store.arrays import BinaryArray, int_array, nullable_array, timestamp_array, uuid_array
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.pepper_versions import OtherPeppers

_COLUMNS: Mapping[str, str] = {
    "id": "uuid",
    "subject": "text",
    "kind": "text",
    "regime": "text",
    "state": "text",
    "reason": "text",
    "next_action": "text",
    "due_at": "timestamptz",
    "received_at": "timestamptz",
    "created_at": "timestamptz",
    "acknowledge_by": "timestamptz",
    "respond_by": "timestamptz",
    "external_reference": "text",
    "submitted_by": "uuid",
    "import_id": "uuid",
    "import_line": "integer",
    "import_fingerprint": "bytea",
    "duplicate_of": "uuid",
    "entry_hash": "bytea",
}
_PACKED: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "uuid": uuid_array,
    "text": nullable_array,
    "bytea": nullable_array,
    "integer": int_array,
    "timestamptz": timestamp_array,
}


@dataclass(frozen=True)
class NewIdentifier:
    """One sealed identifier of a new request."""

    id: UUID
    kind: str
    sealed: bytes = field(repr=False)
    keyed_hash: bytes = field(repr=False)
    method: str | None
    verified_at: datetime | None


@dataclass(frozen=True)
class NewRequest:
    """A row: values by column (those that are left out are NULL), identifiers, and its first entry's bytes."""

    columns: Mapping[str, Any]
    identifiers: Sequence[NewIdentifier]
    entry: bytes


@dataclass(frozen=True)
class RememberedKey:
    """The Idempotency-Key of a submission, with what is answered to a repetition: the receipt of its request."""

    api_key_id: UUID
    key: str
    fingerprint: bytes = field(repr=False)
    receipt: Mapping[str, Any]
    expires_at: datetime


class StoreMoved(Exception):  # noqa: N818 - says what is true
    """The store's server is another one than a moment ago, and nothing was written: trying again helps."""


STORE_UNAVAILABLE = (OperationalError, InterfaceError, PoolExhausted, StoreMoved, EpochKeyUnusable, OtherPeppers)
"""Errors that say nothing about what was to be written: trying again later helps."""

_DEADLOCK, _LOCK_TIMEOUT = "40P01", "55P03"


def is_certainly_not_written(error: Exception) -> bool:
    """True if a transaction that ended with this error wrote nothing.

    An error of the connection can come after the commit; all others come before it, and the database then rolls back.
    """
    if not isinstance(error, DBAPIError):
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    return isinstance(error, IntegrityError | DataError) or sqlstate in (_DEADLOCK, _LOCK_TIMEOUT)


_NAMES = ", ".join(_COLUMNS)
_IDENTIFIERS = "id, request_id, origin, kind, sealed, keyed_hash, verification_method, verified_at"
_UNNESTED_IDENTIFIERS = (
    "unnest(CAST(%(i_ids)s AS uuid[]), CAST(%(i_requests)s AS uuid[]), CAST(%(i_kinds)s AS text[]),"
    " CAST(%(i_sealed)s AS bytea[]), CAST(%(i_hashes)s AS bytea[]), CAST(%(i_methods)s AS text[]),"
    " CAST(%(i_verified)s AS timestamptz[])) AS n(id, request_id, kind, sealed, hash, method, verified_at)"
)
# Whoever waits here waits for another transaction's reference or Idempotency-Key, and all that is written together
# waits with it: `patience` bounds that. The rows come from `how`, so that it is set before the first of them.
_HOW = (
    "WITH how AS MATERIALIZED (SELECT set_config('lock_timeout',"
    " coalesce(%(patience)s, current_setting('lock_timeout')), true)),"
)
# Ordered as the unique constraint, so that two sets with the same references don't wait for each other in a circle.
_REQUESTS = (
    f" r AS (INSERT INTO requests ({_NAMES}, version) SELECT {_NAMES}, 1 FROM how, unnest("  # noqa: S608 - our own names
    + ", ".join(f"CAST(%({name})s AS {kind}[])" for name, kind in _COLUMNS.items())
    + f") AS n({_NAMES}) ORDER BY external_reference, submitted_by),"
)
_ENTRIES = (
    " e AS (INSERT INTO audit_pending (entry) SELECT entry"
    " FROM unnest(CAST(%(entries)s AS bytea[])) WITH ORDINALITY AS n(entry, place) ORDER BY place),"
)
_IDENTIFIER_ROWS = (
    f" i AS (INSERT INTO identifiers ({_IDENTIFIERS})"  # noqa: S608 - our own words
    f" SELECT id, request_id, 'submitted', kind, sealed, hash, method, verified_at FROM {_UNNESTED_IDENTIFIERS})"
)
_REMEMBERED = (
    ", k AS (INSERT INTO idempotency_keys (api_key_id, key, fingerprint, receipt, request_id, expires_at)"
    " SELECT n.* FROM how, unnest(CAST(%(k_api_keys)s AS uuid[]), CAST(%(k_keys)s AS text[]),"
    " CAST(%(k_fingerprints)s AS bytea[]), CAST(%(k_receipts)s AS jsonb[]), CAST(%(k_requests)s AS uuid[]),"
    " CAST(%(k_expires)s AS timestamptz[])) AS n(api_key_id, key, fingerprint, receipt, request_id, expires_at)"
    " ORDER BY api_key_id, key)"
)
# Fails, and with it the statement, on another server than the one for which the keys were made (key_store.create_new).
_ON_THAT_SERVER = " SELECT 1 / CAST(pg_postmaster_start_time() = %(server)s AS integer)"
_INSERT = f"{_HOW}{_REQUESTS}{_ENTRIES}{_IDENTIFIER_ROWS}{_ON_THAT_SERVER}"
_INSERT_REMEMBERED = f"{_HOW}{_REQUESTS}{_ENTRIES}{_IDENTIFIER_ROWS}{_REMEMBERED}{_ON_THAT_SERVER}"


@contextmanager
def on_one_server() -> Iterator[None]:
    """Around an insertion: tells its guard's failure from others'. Raises StoreMoved."""
    try:
        yield
    except DataError as error:
        if getattr(error.orig, "sqlstate", None) == "22012":  # Division by zero.
            raise StoreMoved from None
        raise


def insertion_of(
    requests: Sequence[NewRequest],
    server_started_at: datetime,
    remembered: Sequence[RememberedKey] = (),
    *,
    patience: timedelta | None = None,
) -> tuple[str, dict[str, Any]]:
    """The statement and its values. It fails at a unique constraint if a reference or an Idempotency-Key is in use, and
    with 55P03 if it would have to wait longer than `patience` to know."""
    values: dict[str, Any] = {
        name: _PACKED[kind]([request.columns.get(name) for request in requests]) for name, kind in _COLUMNS.items()
    }
    values |= _identifier_values(requests)
    values |= {
        "entries": BinaryArray(request.entry for request in requests),
        "server": server_started_at,
        "patience": None if patience is None else f"{round(patience.total_seconds() * 1000)}ms",
    }
    if not remembered:
        return _INSERT, values
    return _INSERT_REMEMBERED, values | _remembered_values(remembered)


def insert_requests(connection: Connection, requests: Sequence[NewRequest], server_started_at: datetime) -> None:
    """One statement for all. Raises sqlalchemy's IntegrityError if a reference is in use by its API key."""
    with on_one_server():
        connection.exec_driver_sql(*insertion_of(requests, server_started_at))


def _identifier_values(requests: Sequence[NewRequest]) -> dict[str, Any]:
    pairs = [(request.columns["id"], row) for request in requests for row in request.identifiers]
    return {
        "i_ids": uuid_array(row.id for _, row in pairs),
        "i_requests": uuid_array(request_id for request_id, _ in pairs),
        "i_kinds": BinaryArray(row.kind for _, row in pairs),
        "i_sealed": BinaryArray(row.sealed for _, row in pairs),
        "i_hashes": BinaryArray(row.keyed_hash for _, row in pairs),
        "i_methods": nullable_array([row.method for _, row in pairs]),
        "i_verified": timestamp_array([row.verified_at for _, row in pairs]),
    }


def _remembered_values(remembered: Sequence[RememberedKey]) -> dict[str, Any]:
    return {
        "k_api_keys": uuid_array(key.api_key_id for key in remembered),
        "k_keys": BinaryArray(key.key for key in remembered),
        "k_fingerprints": BinaryArray(key.fingerprint for key in remembered),
        "k_receipts": BinaryArray(json.dumps(dict(key.receipt)) for key in remembered),
        "k_requests": uuid_array(UUID(key.receipt["id"]) for key in remembered),
        "k_expires": timestamp_array([key.expires_at for key in remembered]),
    }
