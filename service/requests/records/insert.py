"""Insert new requests with their identifiers, audit entries and Idempotency-Keys, in one statement.

The hash of a request's first audit entry is in its row from the beginning, so nothing is updated afterwards. Decides no
value of a row: `requests.intake.build` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from service.store.arrays import BinaryArray, int_array, nullable_array, timestamp_array, uuid_array
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.pepper_versions import OtherPeppers
from service.store.execute import compile_once
from service.store.sql_files import load_sql


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
class NewRow:
    """The values of a new request's row, by column. `entry_hash` is that of its first audit entry."""

    id: UUID
    subject: str
    kind: str
    scopes: Sequence[str]
    regime: str
    state: str
    reason: str | None
    next_action: str | None
    due_at: datetime | None
    received_at: datetime
    created_at: datetime
    acknowledge_by: datetime | None
    respond_by: datetime
    external_reference: str | None
    submitted_by: UUID
    duplicate_of: UUID | None
    import_id: UUID | None = None
    import_line: int | None = None
    import_fingerprint: bytes | None = field(default=None, repr=False)
    entry_hash: bytes | None = None


@dataclass(frozen=True)
class NewRequest:
    """A request's row, its identifiers, and its first audit entry's bytes."""

    row: NewRow
    identifiers: Sequence[NewIdentifier]
    entry: bytes


class StoredReceipt(TypedDict):
    """The receipt of a request as it is stored beside its Idempotency-Key."""

    id: str
    kind: str
    regime: str
    received_at: str
    respond_by: str
    acknowledge_by: str | None
    external_reference: str | None
    duplicate_of: str | None


@dataclass(frozen=True)
class RememberedKey:
    """The Idempotency-Key of a submission, with the receipt that a repetition gets."""

    api_key_id: UUID
    key: str
    fingerprint: bytes = field(repr=False)
    receipt: StoredReceipt
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


_INSERT = compile_once(load_sql(__package__, "insert_requests")).words
_INSERT_WITH_KEYS = compile_once(load_sql(__package__, "insert_requests_with_keys")).words


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
) -> tuple[str, dict[str, object]]:
    """Return the statement that writes all of these, in the driver's form, and its values.

    It fails at a unique constraint if a reference or an Idempotency-Key is in use, and with 55P03 if it would have to
    wait longer than `patience` to know.
    """
    values = _row_values([request.row for request in requests]) | _identifier_values(requests)
    values |= {
        "entries": BinaryArray(request.entry for request in requests),
        "server": server_started_at,
        "patience": None if patience is None else f"{round(patience.total_seconds() * 1000)}ms",
    }
    if not remembered:
        return _INSERT, values
    return _INSERT_WITH_KEYS, values | _remembered_values(remembered)


def insert_requests(connection: Connection, requests: Sequence[NewRequest], server_started_at: datetime) -> None:
    """One statement for all. Raises sqlalchemy's IntegrityError if a reference is in use by its API key."""
    with on_one_server():
        connection.exec_driver_sql(*insertion_of(requests, server_started_at))


def _row_values(rows: Sequence[NewRow]) -> dict[str, object]:
    return {
        "id": uuid_array(row.id for row in rows),
        "subject": nullable_array([row.subject for row in rows]),
        "kind": nullable_array([row.kind for row in rows]),
        "scopes": nullable_array([",".join(row.scopes) for row in rows]),
        "regime": nullable_array([row.regime for row in rows]),
        "state": nullable_array([row.state for row in rows]),
        "reason": nullable_array([row.reason for row in rows]),
        "next_action": nullable_array([row.next_action for row in rows]),
        "due_at": timestamp_array([row.due_at for row in rows]),
        "received_at": timestamp_array([row.received_at for row in rows]),
        "created_at": timestamp_array([row.created_at for row in rows]),
        "acknowledge_by": timestamp_array([row.acknowledge_by for row in rows]),
        "respond_by": timestamp_array([row.respond_by for row in rows]),
        "external_reference": nullable_array([row.external_reference for row in rows]),
        "submitted_by": uuid_array(row.submitted_by for row in rows),
        "import_id": uuid_array(row.import_id for row in rows),
        "import_line": int_array(row.import_line for row in rows),
        "import_fingerprint": nullable_array([row.import_fingerprint for row in rows]),
        "duplicate_of": uuid_array(row.duplicate_of for row in rows),
        "entry_hash": nullable_array([row.entry_hash for row in rows]),
    }


def _identifier_values(requests: Sequence[NewRequest]) -> dict[str, object]:
    pairs = [(request.row.id, row) for request in requests for row in request.identifiers]
    return {
        "i_ids": uuid_array(row.id for _, row in pairs),
        "i_requests": uuid_array(request_id for request_id, _ in pairs),
        "i_kinds": BinaryArray(row.kind for _, row in pairs),
        "i_sealed": BinaryArray(row.sealed for _, row in pairs),
        "i_hashes": BinaryArray(row.keyed_hash for _, row in pairs),
        "i_methods": nullable_array([row.method for _, row in pairs]),
        "i_verified": timestamp_array([row.verified_at for _, row in pairs]),
    }


def _remembered_values(remembered: Sequence[RememberedKey]) -> dict[str, object]:
    return {
        "k_api_keys": uuid_array(key.api_key_id for key in remembered),
        "k_keys": BinaryArray(key.key for key in remembered),
        "k_fingerprints": BinaryArray(key.fingerprint for key in remembered),
        "k_receipts": BinaryArray(json.dumps(dict(key.receipt)) for key in remembered),
        "k_requests": uuid_array(UUID(key.receipt["id"]) for key in remembered),
        "k_expires": timestamp_array([key.expires_at for key in remembered]),
    }
