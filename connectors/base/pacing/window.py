"""The sliding window: when the next call may go.

Pure arithmetic on instants in seconds; knows no clock.

Why a log of instants and not a token bucket or GCRA: a bucket as large as the limit lets twice the limit through around
the edge of a vendor's window, and one that is safe gives the burst away. With a log there are never more than `calls`
in *any* window of that length, so neither a vendor that counts fixed windows (wherever they begin) nor one that counts
sliding ones ever sees too many; and all of the limit can be used, at once or spread.
"""

from __future__ import annotations

from collections import deque

# Our instant is when the permit was taken, the vendor's when the call arrived, and that distance varies.
_MARGIN_SHARE = 0.03
_LEAST_MARGIN_SECONDS = 0.015
_LARGEST_MARGIN_SECONDS = 1.0


def margin_seconds(per_seconds: float) -> float:
    """Return how much longer than the vendor's our window is, because calls take unequal times to arrive."""
    return min(max(per_seconds * _MARGIN_SHARE, _LEAST_MARGIN_SECONDS), _LARGEST_MARGIN_SECONDS)


def guarded_seconds(per_seconds: float) -> float:
    """The window that we count."""
    return per_seconds + margin_seconds(per_seconds)


class SlidingWindow:
    """The permits of the last `seconds`, oldest first. `now` never goes back between two calls."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def free(self, now: float, calls: int) -> int:
        """How many permits of `calls` are free."""
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()
        return max(calls - len(self._taken), 0)

    def wait_seconds(self, now: float, calls: int) -> float:
        """Until one permit of `calls` is free; 0 if one is."""
        if self.free(now, calls):
            return 0.0
        return self._taken[len(self._taken) - calls] + self._seconds - now

    def take(self, now: float, permits: int = 1) -> None:
        """Note permits as taken, whether they were free or not."""
        self._taken.extend([now] * permits)
