"""Whether requests wait to be looked at, as every tick asks: one short look, so that an idle service costs little."""

from __future__ import annotations

from sqlalchemy import text

from service.store.stores import Stores

# By the oldest row, through the index: a plain EXISTS reads its way through all the rows that were just deleted.
_WAITING = text(
    "SELECT (SELECT id FROM request_checks WHERE look_at <= (SELECT clock_timestamp()) ORDER BY id LIMIT 1) IS NOT NULL"
    " OR EXISTS (SELECT 1 FROM requests"
    " WHERE duty = 'freeze' AND due_at <= (SELECT clock_timestamp()))"
)


def requests_wait(stores: Stores) -> bool:
    """True if a request is to be looked at now."""
    with stores.engine.begin() as connection:
        return bool(connection.execute(_WAITING).scalar_one())
