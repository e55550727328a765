"""Rate limits of a stand-in, as its vendor has them.

It answers 429 beyond so many calls in a window, fixed or sliding.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass
class EnforcedLimit:
    """At most `calls` accepted calls per `seconds`; refused ones don't count.

    `sliding`: any window of that length, else windows that follow each other. `says_when`: a refusal has Retry-After.
    `says_left`: every answer has X-RateLimit-Limit, -Remaining and -Reset (seconds).
    """

    calls: int
    seconds: float
    sliding: bool = True
    says_when: bool = True
    says_left: bool = False
    _accepted: deque[float] = field(default_factory=deque, repr=False)

    def wait_seconds(self, now: float | None = None) -> float | None:
        """None if one more call is accepted now, or how long until one is."""
        moment = time.monotonic() if now is None else now
        begin = moment - self.seconds if self.sliding else moment // self.seconds * self.seconds
        while self._accepted and (self._accepted[0] <= begin if self.sliding else self._accepted[0] < begin):
            self._accepted.popleft()
        if len(self._accepted) < self.calls:
            return None
        return (self._accepted[0] if self.sliding else begin) + self.seconds - moment

    def accept(self, now: float | None = None) -> None:
        """Count a call."""
        self._accepted.append(time.monotonic() if now is None else now)

    def headers(self, wait: float | None, now: float | None = None) -> dict[str, str]:
        """Return the headers that this limit adds to an answer."""
        moment = time.monotonic() if now is None else now
        added: dict[str, str] = {}
        if wait is not None and self.says_when:
            added["retry-after"] = str(math.ceil(wait))
        if self.says_left:
            first = self._accepted[0] if self.sliding and self._accepted else moment // self.seconds * self.seconds
            added |= {
                "x-ratelimit-limit": str(self.calls),
                "x-ratelimit-remaining": str(self.calls - len(self._accepted)),
                "x-ratelimit-reset": f"{max(first + self.seconds - moment, 0.0):.3f}",
            }
        return added
