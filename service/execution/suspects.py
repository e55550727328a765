"""Part those of a batch with whom processes died again and again from those with whom none did, for one lease.

Decides who of the due steps is leased now; domain.execution.bisect has the rule. Effects can't be split into new
batches as
looks can: key and token, and the vendor's jobs that they lead to, belong to the batch. So the batch stays, and is
leased in parts. Runs inside the transaction of a lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from service.domain.execution.bisect import REPEATED, who_goes
from service.domain.execution.states import Phase

LEASE_EXPIRED = "lease_expired"
_EFFECTS = frozenset({Phase.SUPPRESS, Phase.ERASE})


def part_suspects(connection: Connection, batch_id: UUID, phase: str, steps: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Those of the locked due steps of a batch who may travel together now; all of them, but for a batch that kills."""
    if phase not in _EFFECTS or not any(s.tries >= REPEATED for s in steps):
        return list(steps)
    # Tries count every error in a row; only attempts without any answer tell of a process that died.
    rows = connection.execute(
        text(
            "SELECT s.id, least(s.tries, count(*)) AS deaths FROM steps s JOIN attempts a ON a.step_id = s.id"
            " AND a.batch_id = s.batch_id AND a.ended_at IS NULL WHERE s.batch_id = :b AND s.reason = :expired"
            " GROUP BY s.id, s.tries"
        ),
        {"b": batch_id, "expired": LEASE_EXPIRED},
    )
    deaths = {row.id: row.deaths for row in rows}
    suspects = sum(count >= REPEATED for count in deaths.values())
    if not suspects:
        return list(steps)
    going = who_goes({s.id: deaths.get(s.id, 0) for s in steps}, suspects=suspects)
    return [s for s in steps if s.id in going]
