"""Print when the audit log can't be signed or anchored, and when it can be again.

Each change is one line, so that a console or a journal shows when it began and ended. A database that doesn't answer
is said once, too: its own errors are in the processes' logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service.audit.evidence_standing import evidence_standing
from service.settings import Settings
from service.store.stores import Stores

_EVERY_SECONDS = 5.0
_NO_ANSWER = "the database doesn't answer"


class EvidenceWatch:
    """Looks every few seconds; `look` may be called as often as one likes."""

    def __init__(self, stores: Stores, settings: Settings, tell: Callable[[str], None]) -> None:
        self._stores = stores
        self._settings = settings
        self._tell = tell
        self._said: tuple[str, ...] = ()
        self._next_at = 0.0

    def look(self) -> None:
        """Say what changed since the last look."""
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + _EVERY_SECONDS
        lines = self._lines()
        for line in lines:
            if line not in self._said:
                self._tell(line)
        for line in self._said:
            if line not in lines:
                self._tell(f"over: {line}")
        self._said = lines

    def _lines(self) -> tuple[str, ...]:
        try:
            return evidence_standing(self._stores, self._settings).lines()
        except SQLAlchemyError:
            return (_NO_ANSWER,)
