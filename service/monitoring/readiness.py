"""Check that both stores answer and that no needed epoch key is missing.

A statement on a table of the newest schema fails where the store isn't migrated.
"""

from __future__ import annotations

from service.monitoring.store import can_read
from service.store.stores import Stores


def check_readiness(stores: Stores) -> None:
    """Return if both stores answer and no epoch key is missing.

    Raises the driver's errors, EpochKeyUnusable.
    """
    with stores.engine.connect() as connection:
        can_read(connection)
    stores.keys.get(["readiness"])
    stores.keys.check()
