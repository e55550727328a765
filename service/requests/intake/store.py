"""Delete Idempotency-Keys that have expired."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Text, Uuid, column, delete, func, select, tuple_

from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.tables.requests import IdempotencyRow

_EXPIRED = IdempotencyRow.expires_at <= func.clock_timestamp()


def delete_expired_keys(connection: Connection) -> None:
    """Delete the Idempotency-Keys that have expired."""
    execute(connection, _DELETE_EXPIRED)


_DELETE_EXPIRED = delete(IdempotencyRow).where(_EXPIRED)


def forget_expired(connection: Connection, keys: Sequence[tuple[UUID, str]]) -> None:
    """Delete those of these keys, each with the id of its API key, that have expired."""
    values = {"api_keys": uuid_array(api_key for api_key, _ in keys), "keys": BinaryArray(key for _, key in keys)}
    execute(connection, _FORGET, values)


_NAMES = (
    func.unnest(array_parameter("api_keys", Uuid()), array_parameter("keys", Text()))
    .table_valued(column("api_key", Uuid), column("key", Text))
    .render_derived(name="n")
)
_FORGET = delete(IdempotencyRow).where(
    tuple_(IdempotencyRow.api_key_id, IdempotencyRow.key).in_(select(_NAMES.c.api_key, _NAMES.c.key)), _EXPIRED
)
