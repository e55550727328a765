"""A process whose clock is wrong: `time.time` and `datetime.now` are off by so many seconds. Monotonic time is right.

Must be installed before anything else takes `datetime` from its module.
"""

from __future__ import annotations

import datetime as module
import time
from typing import Any

_REAL = module.datetime


def install(seconds: float) -> None:
    """Be wrong from now on."""
    real_time = time.time
    off = module.timedelta(seconds=seconds)

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, _REAL)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, _REAL)

    class Skewed(_REAL, metaclass=Kind):
        def __new__(cls, *args: Any, **named: Any) -> Any:
            # Values are the real class's: whoever compares types, or speaks to the database, sees no difference.
            return _REAL(*args, **named)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return (_REAL.now(module.UTC) + off).astimezone(tz) if tz else _REAL.now() + off

        @classmethod
        def utcnow(cls) -> Any:
            return _REAL.now(module.UTC).replace(tzinfo=None) + off

    module.datetime = Skewed  # type: ignore[misc]
    time.time = lambda: real_time() + seconds
