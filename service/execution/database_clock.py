"""Keep the database's clock in a worker process, for due times, leases and holds.

Decides how an instant of this process's own clock, which may be hours wrong, becomes one of the database's. Between two
questions the monotonic clock counts on.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from service.store.locking import database_now

_ASK_AGAIN_SECONDS = 60.0
# Less is the time that a question takes, and nobody's clock is better.
_TOLERATED = timedelta(seconds=0.5)


def own_clock() -> datetime:
    """Return the time of this process's clock."""
    return datetime.now(UTC)


class DatabaseClock:
    """One thread's view of the database's clock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: datetime | None = None
        self._told_at = 0.0

    def now(self) -> datetime:
        """The database's time, asked for once a minute."""
        if self._told is None or time.monotonic() - self._told_at >= _ASK_AGAIN_SECONDS:
            with self._engine.begin() as connection:
                self._told = database_now(connection)
            self._told_at = time.monotonic()
        return self._told + timedelta(seconds=time.monotonic() - self._told_at)

    def corrected(self, instant: datetime) -> datetime:
        """An instant that was reckoned by this process's clock."""
        off = self.now() - own_clock()
        return instant if abs(off) < _TOLERATED else instant + off
