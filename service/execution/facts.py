"""Read the facts of locked steps and of their requests that the rule needs.

Decides nothing: `service.domain.execution.decide` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import Phase, StepFacts, StepState
from service.domain.requests.states import WITHDRAWN_STATES, Progress
from service.execution.store import RecordedStep
from service.requests.holds.active import held_requests
from service.store.arrays import int_array, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql

_AROUND = load_sql(__package__, "step_context")
_MAY_WAIT = frozenset({Phase.ERASE, Phase.CONFIRM})


@dataclass(frozen=True)
class StepContext:
    """The facts around some steps of one system.

    `held`, `withdrawn`, `unapproved`: requests in that state. `waiting`: requests in which the step must wait for an
    earlier system. `now`: the database's clock behind the steps' lock. `is_removed`: their system was taken out of the
    configuration. `left_to_others`: requests of which another step is due, and none waits for its turn (see
    ask_to_look).
    """

    now: datetime
    is_removed: bool
    held: frozenset[UUID]
    withdrawn: frozenset[UUID]
    unapproved: frozenset[UUID]
    waiting: frozenset[UUID]
    left_to_others: frozenset[UUID]

    def of(self, row: RecordedStep) -> tuple[bool, bool, bool, bool]:
        """Held, withdrawn, not approved, waiting: as far as this step is concerned."""
        request_id = row.request_id
        return (
            request_id in self.held,
            request_id in self.withdrawn,
            request_id in self.unapproved,
            request_id in self.waiting,
        )

    def facts(self, row: RecordedStep) -> StepFacts:
        """All that the rule needs to know of this step."""
        held, withdrawn, unapproved, waiting = self.of(row)
        return StepFacts(
            phase=Phase(row.phase),
            consecutive_attempts=row.consecutive_attempts,
            plan_rounds=row.plan_rounds,
            effect_possible=row.effect_possible,
            frozen=row.plan_version is not None,
            held=held,
            withdrawn=withdrawn,
            must_wait=waiting,
            awaiting_approval=unapproved,
            retained=row.retained,
            state=StepState.LEASED,
        )


def load_context(connection: Connection, system: str, rows: Mapping[UUID, RecordedStep]) -> StepContext:
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
    return StepContext(
        around.now,
        around.is_removed,
        frozenset(held_requests(connection, request_ids)),
        frozenset(around.withdrawn or ()),
        frozenset(around.unapproved or ()),
        frozenset(around.waiting or ()),
        frozenset(around.left_to_others or ()),
    )
