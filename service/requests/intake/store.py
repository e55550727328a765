"""Read and write Idempotency-Keys, and read which requests a submission repeats."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func

from service.store.execute import execute
from service.store.tables.requests import IdempotencyRow


def delete_expired_keys(connection: Connection) -> None:
    """Delete the Idempotency-Keys that have expired."""
    execute(connection, _DELETE_EXPIRED)


_DELETE_EXPIRED = delete(IdempotencyRow).where(IdempotencyRow.expires_at <= func.clock_timestamp())
