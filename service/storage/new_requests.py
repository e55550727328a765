"""New requests' rows, written with their identifiers and audit entries by one statement, one or many.

Decides how a request comes into the store: its first entry's hash stands in the row from the beginning, so nothing is
updated afterwards. What the rows say is decided by the use case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection
from sqlalchemy.exc import DataError

_COLUMNS: Mapping[str, str] = {
    "id": "uuid",
    "subject": "text",
    "kind": "text",
    "regime": "text",
    "state": "text",
    "reason": "text",
    "duty": "text",
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
    "linked_to": "uuid",
    "entry_hash": "bytea",
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
    """The Idempotency-Key of a single submission, with what is answered to a repetition."""

    api_key_id: UUID
    key: str
    fingerprint: bytes
    receipt: Mapping[str, Any]
    expires_at: datetime


class StoreMoved(Exception):  # noqa: N818 - says what is true
    """The store's server is another one than a moment ago, and nothing was written: trying again helps."""


_NAMES = ", ".join(_COLUMNS)
_IDENTIFIERS = "id, request_id, origin, kind, sealed, keyed_hash, verification_method, verified_at"
_UNNESTED_IDENTIFIERS = (
    "unnest(CAST(%(i_ids)s AS uuid[]), CAST(%(i_requests)s AS uuid[]), CAST(%(i_kinds)s AS text[]),"
    " CAST(%(i_sealed)s AS bytea[]), CAST(%(i_hashes)s AS bytea[]), CAST(%(i_methods)s AS text[]),"
    " CAST(%(i_verified)s AS timestamptz[])) AS n(id, request_id, kind, sealed, hash, method, verified_at)"
)
_IDENTIFIER_ROWS = (
    f"i AS (INSERT INTO identifiers ({_IDENTIFIERS})"  # noqa: S608 - our own words
    f" SELECT id, request_id, 'submitted', kind, sealed, hash, method, verified_at FROM {_UNNESTED_IDENTIFIERS})"
)
_ONE = (
    f"WITH r AS (INSERT INTO requests ({_NAMES}, version) VALUES ({', '.join(f'%({n})s' for n in _COLUMNS)}, 1)),"  # noqa: S608 - our own names
    f" e AS (INSERT INTO audit_pending (entry) VALUES (%(entry)s)), {_IDENTIFIER_ROWS}"
)
_REMEMBER = (
    ", k AS (INSERT INTO idempotency_keys (api_key_id, key, fingerprint, receipt, request_id, expires_at)"
    " VALUES (%(k_api_key)s, %(k_key)s, %(k_fingerprint)s, %(k_receipt)s, %(id)s, %(k_expires_at)s))"
)
# Fails, and with it the statement, on another server than the one for which the keys were made (key_store.create_new).
_ON_THAT_SERVER = " SELECT 1 / CAST(pg_postmaster_start_time() = %(server)s AS integer)"
_INSERT_ONE = f"{_ONE}{_ON_THAT_SERVER}"
_INSERT_REMEMBERED = f"{_ONE}{_REMEMBER}{_ON_THAT_SERVER}"
# In the order of their references, so that two imports with the same ones don't wait for each other in a circle.
_INSERT_MANY = (
    f"WITH r AS (INSERT INTO requests ({_NAMES}, version) SELECT {_NAMES}, 1 FROM unnest("  # noqa: S608 - our own names
    + ", ".join(f"CAST(%({name})s AS {kind}[])" for name, kind in _COLUMNS.items())
    + f") AS n({_NAMES}) ORDER BY external_reference),"  # noqa: S608 - our own words
    " e AS (INSERT INTO audit_pending (entry) SELECT entry"
    " FROM unnest(CAST(%(entries)s AS bytea[])) WITH ORDINALITY AS n(entry, place) ORDER BY place),"
    f" {_IDENTIFIER_ROWS}{_ON_THAT_SERVER}"
)


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
    request: NewRequest, remembered: RememberedKey | None, server_started_at: datetime
) -> tuple[str, dict[str, Any]]:
    """The statement and its values. It fails at a unique constraint if a reference or an Idempotency-Key is in use."""
    values = {name: request.columns.get(name) for name in _COLUMNS} | _identifier_values([request])
    values |= {"entry": request.entry, "server": server_started_at}
    if remembered is None:
        return _INSERT_ONE, values
    values |= {
        "k_api_key": remembered.api_key_id,
        "k_key": remembered.key,
        "k_fingerprint": remembered.fingerprint,
        "k_receipt": Jsonb(dict(remembered.receipt)),
        "k_expires_at": remembered.expires_at,
    }
    return _INSERT_REMEMBERED, values


def insert_requests(connection: Connection, requests: Sequence[NewRequest], server_started_at: datetime) -> None:
    """One statement for all. Raises sqlalchemy's IntegrityError if one of the references is in use."""
    values: dict[str, Any] = {name: [request.columns.get(name) for request in requests] for name in _COLUMNS}
    values |= {"entries": [request.entry for request in requests], "server": server_started_at}
    with on_one_server():
        connection.exec_driver_sql(_INSERT_MANY, values | _identifier_values(requests))


def _identifier_values(requests: Sequence[NewRequest]) -> dict[str, list[Any]]:
    pairs = [(request.columns["id"], row) for request in requests for row in request.identifiers]
    return {
        "i_ids": [row.id for _, row in pairs],
        "i_requests": [request_id for request_id, _ in pairs],
        "i_kinds": [row.kind for _, row in pairs],
        "i_sealed": [row.sealed for _, row in pairs],
        "i_hashes": [row.keyed_hash for _, row in pairs],
        "i_methods": [row.method for _, row in pairs],
        "i_verified": [row.verified_at for _, row in pairs],
    }
