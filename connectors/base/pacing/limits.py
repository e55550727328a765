"""A vendor's limit as its connector declares it, or as the system's entry in the configuration does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

LONG_WINDOW = timedelta(hours=1)
"""Windows of this length and more outlive brokers and processes: they are counted in the database."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` calls in any window of `per`, for the whole system.

    With `per_subject`, at most `calls` *people* suppressed or erased: vendors that count so count effects, not looks.
    """

    calls: int
    per: timedelta
    per_subject: bool = False

    @property
    def is_long(self) -> bool:
        """True if the window is counted in the database."""
        return self.per >= LONG_WINDOW
