"""Keep the deadline of this thread's call; every read, write and connect under it ends by then.

With a limit on silence alone, a vendor that sends one byte every half second could keep a worker for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Call(threading.local):
    until: float | None = None


_call = _Call()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Everything that this thread does on the network within the block ends `seconds` from now."""
    _call.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _call.until = None


def is_over() -> bool:
    """True if the call's time is used up."""
    return _call.until is not None and time.monotonic() >= _call.until


def within(seconds: float | None) -> float | None:
    """Return the shorter of `seconds` and the time that is left, 0 at least; None without any limit."""
    if _call.until is None:
        return seconds
    left = max(0.0, _call.until - time.monotonic())
    return left if seconds is None else min(seconds, left)
