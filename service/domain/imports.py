"""States of an import, and which changes are possible in which of them.

An import is many requests that came in one body. Halting it halts what its requests' engine does, never their clocks.
"""

from __future__ import annotations

from enum import StrEnum


class ImportState(StrEnum):
    """Where an import stands; `cancelling` until what hadn't ended is revoked."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ImportFormat(StrEnum):
    """How its lines are written."""

    JSONL = "jsonl"
    CSV = "csv"


IMPORT_CANCELLED = "import_cancelled"
"""Reason of the requests that are revoked because their import was cancelled."""

MAX_LINES = 100_000
TAKES_LINES = frozenset({ImportState.RUNNING, ImportState.PAUSED})
CAN_PAUSE = frozenset({ImportState.RUNNING})
CAN_RESUME = frozenset({ImportState.PAUSED})
CAN_CANCEL = frozenset({ImportState.RUNNING, ImportState.PAUSED})
