"""States of an import, and the changes that each state allows.

An import is many requests in one body. While an import is paused, scheduler and workers don't process its requests, but
the requests' deadlines don't move.
"""

from __future__ import annotations

from enum import StrEnum


class ImportState(StrEnum):
    """The state of an import; `cancelling` until every unfinished request is revoked.

    `completed`: see is_completed.
    """

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ImportFormat(StrEnum):
    """The format of an import's lines."""

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
    """Return whether a running import is complete: the whole body came in and all requests have ended.

    An import whose body wasn't received completely stays `running`, because lines may be missing: send the body again,
    or cancel the import. A paused import stays `paused`, because a human decided that. A line that is accepted later (a
    repaired one) makes a completed import `running` again.
    """
    return state == ImportState.RUNNING and is_whole and not has_unfinished
