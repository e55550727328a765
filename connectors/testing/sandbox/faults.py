"""Faults that the harness injects in front of a stand-in.

Decides when one applies; the server carries it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """The kinds of fault.

    STATUS: answer `status` (with `retry_after`: seconds as a number or a full HTTP date as text) and do nothing. STALL:
    wait `seconds` before doing anything. DROP_BEFORE / DROP_AFTER: cut the connection before / after acting. HTML: 200
    with an HTML page, nothing done. HALF_BODY: act, then send half of the answer. LIE: answer as if done, do nothing.
    BLIND: answer as to a credential that sees nothing. HOSTILE: 200 with the text `body`, declared as JSON, nothing
    done. HUGE: 200 with `seconds` MiB of JSON. REDIRECT: 302.
    """

    STATUS = "status"
    STALL = "stall"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    HTML = "html"
    HALF_BODY = "half_body"
    LIE = "lie"
    BLIND = "blind"
    HOSTILE = "hostile"
    HUGE = "huge"
    REDIRECT = "redirect"


@dataclass
class Fault:
    """A fault on calls whose method and path match.

    It applies `times` times (None: for ever), after `skip` matching calls.
    """

    kind: FaultKind
    methods: tuple[str, ...] = ()
    path: str = ".*"
    times: int | None = 1
    skip: int = 0
    status: int = 500
    retry_after: str | None = None
    seconds: float = 0.0
    body: Any = field(default=None)

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)
        self._pattern = re.compile(self.path)

    def applies(self, method: str, path: str) -> bool:
        """True if this call is hit; counts down."""
        if (self.methods and method not in self.methods) or not self._pattern.search(path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        if self.times <= 0:
            return False
        self.times -= 1
        return True
