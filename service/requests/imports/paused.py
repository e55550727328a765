"""Imports that somebody paused or cancels: nothing of theirs is leased or walked meanwhile.

Decides by the import's own row, so that pausing 100,000 requests writes one row. Work stands in a line per import
(domain.execution.lanes), and a line that rests is passed over as a whole. Deadlines run on and are watched as ever.
What a
human marked as urgent stands in another line, and goes on.
"""

from __future__ import annotations

HALTED_IMPORTS = "SELECT id FROM imports WHERE state IN ('paused', 'cancelling')"
"""Ids of imports whose work rests. `cancelling`: what hasn't ended is being revoked."""

REQUEST_GOES_ON = f"(import_id IS NULL OR import_id NOT IN ({HALTED_IMPORTS}))"
"""Condition on a row of `requests`."""


def lane_goes_on(lane: str) -> str:
    """Condition on a line of due work, given its column."""
    return f"{lane} NOT IN ({HALTED_IMPORTS})"
