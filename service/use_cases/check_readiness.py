"""Ask both stores a question that only a migrated one can answer."""

from __future__ import annotations

from sqlalchemy import text

from service.storage.stores import Stores


def check_readiness(stores: Stores) -> None:
    """Returns if both stores answer. Raises what the database driver raises otherwise."""
    with stores.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM requests LIMIT 1"))
    stores.keys.get(["readiness"])
