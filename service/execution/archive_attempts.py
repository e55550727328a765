"""Delete the attempts of requests that were sealed long ago: the audit log has told of each of them.

Decides which and how many at once. A request is looked at once, so the cost is that of what is deleted.
"""

from __future__ import annotations

from datetime import timedelta

from service.execution.attempts import delete_attempts
from service.execution.batches import delete_ended
from service.requests.records.schedule import forget_attempts
from service.settings import Settings
from service.store.stores import Stores


def archive_attempts(stores: Stores, settings: Settings, *, limit: int = 200) -> int:
    """Delete the attempts of up to `limit` old requests, and ended batches that nothing names any more.

    Return the number of requests; 0 if none is old enough.
    """
    with stores.engine.begin() as connection:
        requests = forget_attempts(connection, age=timedelta(days=settings.retention.attempts_days), limit=limit)
        if not requests:
            return 0
        delete_ended(connection, delete_attempts(connection, requests))
    return len(requests)
