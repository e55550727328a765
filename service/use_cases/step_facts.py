"""Read what the rule of outcomes needs to know of locked steps: their rows, and what their requests say just now.

Decides nothing; domain.outcomes does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.outcomes import Phase, StepFacts
from service.domain.request import WITHDRAWN_STATES, Progress
from service.storage.driver_words import run
from service.storage.holds import held_requests
from service.storage.packed import listed

_STATES = "SELECT id, state, reason FROM requests WHERE id = ANY(CAST(:ids AS uuid[]))"
# A step in its erasing call may be looked at in the same pass, so it knows whether it would have to wait, too.
_WAITING = (
    "SELECT DISTINCT s.id FROM steps s JOIN steps e ON e.request_id = s.request_id"
    " AND e.position < s.position WHERE s.id = ANY(CAST(:ids AS uuid[]))"
    " AND s.phase IN ('erase', 'confirm') AND e.ended_at IS NULL AND e.phase <> 'confirm'"
)


@dataclass(frozen=True)
class Surroundings:
    """Of some steps: which of their requests are held, withdrawn or not approved, and which steps must wait."""

    held: frozenset[UUID]
    withdrawn: frozenset[UUID]
    unapproved: frozenset[UUID]
    waiting: frozenset[UUID]

    def of(self, row: Row[Any]) -> tuple[bool, bool, bool, bool]:
        """Held, withdrawn, not approved, waiting: as far as this step is concerned."""
        request_id = row.request_id
        return (
            request_id in self.held,
            request_id in self.withdrawn,
            request_id in self.unapproved,
            row.id in self.waiting,
        )

    def facts(self, row: Row[Any]) -> StepFacts:
        """All that the rule needs to know of this step."""
        held, withdrawn, unapproved, waiting = self.of(row)
        return StepFacts(
            phase=Phase(row.phase),
            tries=row.tries,
            rounds=row.rounds,
            effect_possible=row.effect_possible,
            frozen=row.plan_version is not None,
            held=held,
            withdrawn=withdrawn,
            must_wait=waiting,
            awaiting_approval=unapproved,
            retained=row.retained,
        )


def surroundings(connection: Connection, rows: Mapping[UUID, Row[Any]]) -> Surroundings:
    """Of these locked steps. Requests are read, not locked: a decision that comes later finds the answer recorded."""
    request_ids = list({row.request_id for row in rows.values()})
    held = held_requests(connection, request_ids)
    states = run(connection, _STATES, {"ids": listed(request_ids)}).all()
    waiting: Iterable[UUID] = ()
    if any(row.phase != Phase.LOCATE for row in rows.values()):
        waiting = run(connection, _WAITING, {"ids": listed(rows)}).scalars()
    return Surroundings(
        frozenset(held),
        frozenset(row.id for row in states if row.state in WITHDRAWN_STATES),
        frozenset(row.id for row in states if row.reason == Progress.AWAITING_APPROVAL),
        frozenset(waiting),
    )
