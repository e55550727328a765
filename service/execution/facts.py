"""Read what the rule of outcomes needs to know of locked steps: their rows, and what their requests say just now.

Decides nothing; domain.execution.results does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.execution.states import EARLIER_SYSTEM, Phase, StepFacts, StepState
from service.domain.requests.states import WITHDRAWN_STATES, Progress
from service.requests.holds.active import held_requests
from service.store.arrays import int_array, uuid_array
from service.store.execute import execute

# All that is asked behind the steps' lock, and so as it is then: a decision that comes later finds the answer recorded.
_AROUND = (
    "SELECT clock_timestamp() AS now,"  # noqa: S608 - our own words
    " (SELECT state <> 'active' FROM systems WHERE name = :system) AS is_removed, r.*, o.*"
    " FROM (SELECT array_agg(id) FILTER (WHERE state = ANY(CAST(:withdrawn AS text[]))) AS withdrawn,"
    " array_agg(id) FILTER (WHERE reason = :unapproved) AS unapproved"
    " FROM requests WHERE id = ANY(CAST(:requests AS uuid[]))) AS r,"
    # A step in its erasing call may be looked at in the same pass, so it knows whether it would have to wait, too.
    " (SELECT array_agg(a.request_id) FILTER (WHERE e.waits) AS waiting,"
    " array_agg(a.request_id) FILTER (WHERE e.is_due AND NOT e.in_turn) AS left_to_others"
    " FROM unnest(CAST(:asking AS uuid[]), CAST(:positions AS integer[])) AS a(request_id, position)"
    " CROSS JOIN LATERAL (SELECT"
    " coalesce(bool_or(position < a.position AND ended_at IS NULL AND phase <> 'confirm'), false) AS waits,"
    " coalesce(bool_or(state = 'due' AND plan_version IS NOT NULL AND NOT waits_for_order), false) AS is_due,"
    f" coalesce(bool_or(waits_for_order OR reason = '{EARLIER_SYSTEM}'), false) AS in_turn"
    " FROM steps WHERE request_id = a.request_id) AS e) AS o"
)
_MAY_WAIT = frozenset({Phase.ERASE, Phase.CONFIRM})


@dataclass(frozen=True)
class Surroundings:
    """What is true around some steps of one system: which of their requests are held, withdrawn or not approved, and in
    which ones the step must wait for an earlier system.

    `now`: the database's clock behind the steps' lock. `is_removed`: their system was taken out of the configuration.
    `left_to_others`: requests of which another step is due, and none waits for its turn (see ask_to_look).
    """

    now: datetime
    is_removed: bool
    held: frozenset[UUID]
    withdrawn: frozenset[UUID]
    unapproved: frozenset[UUID]
    waiting: frozenset[UUID]
    left_to_others: frozenset[UUID]

    def of(self, row: Row[Any]) -> tuple[bool, bool, bool, bool]:
        """Held, withdrawn, not approved, waiting: as far as this step is concerned."""
        request_id = row.request_id
        return (
            request_id in self.held,
            request_id in self.withdrawn,
            request_id in self.unapproved,
            request_id in self.waiting,
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
            state=StepState.LEASED,
        )


def surroundings(connection: Connection, system: str, rows: Mapping[UUID, Row[Any]]) -> Surroundings:
    """Of these locked steps of one system. Requests are read, not locked."""
    request_ids = list({row.request_id for row in rows.values()})
    asking = [row for row in rows.values() if row.phase in _MAY_WAIT]
    around = execute(
        connection,
        _AROUND,
        {
            "system": system,
            "requests": uuid_array(request_ids),
            "withdrawn": sorted(WITHDRAWN_STATES),
            "unapproved": Progress.AWAITING_APPROVAL,
            "asking": uuid_array(row.request_id for row in asking),
            "positions": int_array(row.position for row in asking),
        },
    ).one()
    return Surroundings(
        around.now,
        around.is_removed,
        frozenset(held_requests(connection, request_ids)),
        frozenset(around.withdrawn or ()),
        frozenset(around.unapproved or ()),
        frozenset(around.waiting or ()),
        frozenset(around.left_to_others or ()),
    )
