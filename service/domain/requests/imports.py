"""States of an import, and which changes are possible in which of them.

An import is many requests that came in one body. Halting it halts what its requests' engine does, never their clocks.
"""

from __future__ import annotations

from enum import StrEnum


class ImportState(StrEnum):
    """The state of an import; `cancelling` until every unfinished request is revoked; `completed`: see is_completed."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ImportFormat(StrEnum):
    """How its lines are written."""

    JSONL = "jsonl"
    CSV = "csv"


IMPORT_CANCELLED = "import_cancelled"
"""Reason of the requests that are revoked because their import was cancelled."""

MAX_LINES = 100_000
TAKES_LINES = frozenset({ImportState.RUNNING, ImportState.PAUSED, ImportState.COMPLETED})
CAN_PAUSE = frozenset({ImportState.RUNNING})
CAN_RESUME = frozenset({ImportState.PAUSED})
CAN_CANCEL = frozenset({ImportState.RUNNING, ImportState.PAUSED})


def is_completed(state: str, *, is_whole: bool, has_unfinished: bool) -> bool:
    """Return whether a running import has nothing left to do: its body came whole, and each of its requests has ended.

    An import whose body never came whole stays `running`, because lines may be missing: send the body again, or cancel
    the import. A paused import stays `paused`, because a human decided that. A line that is accepted later (a repaired
    one) makes a completed import `running` again.
    """
    return state == ImportState.RUNNING and is_whole and not has_unfinished
