"""Ask both stores a question that only a migrated one can answer, and read every epoch key that data keys need."""

from __future__ import annotations

from sqlalchemy import text

from service.store.stores import Stores


def check_readiness(stores: Stores) -> None:
    """Returns if both stores answer and no epoch key is missing. Raises the driver's errors, EpochKeyUnusable."""
    with stores.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM requests LIMIT 1"))
    stores.keys.get(["readiness"])
    stores.keys.check()
