"""Add checks of the requests for which a step's transition may make another transition due.

Decides it from the transition and from columns that never change, so that of two transitions that are recorded at once
each adds its own check. `requests.planning.next_transitions` has the conditions that must not be missed:

- a plan is frozen when searches end: every transition of a step that isn't in a plan yet may make that due;
- a request is answered and sealed when its steps have ended or are accepted; a step that is due again is neither;
- later systems continue when an earlier step leaves the phases that they wait for, or when they begin to wait. The
  steps behind another one are written when they are opened, and stay.

One check may be left to another step: the check after an end, if that step is due, because it must end as well and its
end is recorded later than this reading. Its recorder may read this step as leased, because this transaction isn't
committed yet; then it adds a check, which finds a leased step and is repeated after the time of a lease, until no step
is leased (`advance_requests`). The writer of any other transition of a due step adds a check itself. Of five systems
therefore one adds a check of a request, not five.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import Phase, StepState, Transition
from service.requests.planning.store import steps_before_others
from service.requests.steps.rows import MovedStep
from service.store.locking import request_check


def ask_to_look(
    connection: Connection, moves: Sequence[tuple[MovedStep, Transition]], left_to_others: Collection[UUID] = ()
) -> None:
    """Ask for the requests of these locked steps, as they were before these moves, where it is needed.

    `left_to_others`: requests of which another step was due, and none waited for its turn, when the steps were locked.
    """
    had_effect = [
        row.id
        for row, move in moves
        # In any other state somebody looks anyway.
        if move.state is StepState.DUE and row.phase != Phase.CONFIRM and move.phase is Phase.CONFIRM
    ]
    waited_for = steps_before_others(connection, had_effect)
    asking = [row for row, move in moves if _may_let_follow(row, move, waited_for)]
    ends = {row.id for row, move in moves if move.has_ended and row.plan_version is not None}
    request_check(connection, [r.request_id for r in asking if r.id not in ends or r.request_id not in left_to_others])


def _may_let_follow(row: MovedStep, move: Transition, waited_for: set[UUID]) -> bool:
    is_in_plan = row.plan_version is not None
    return not is_in_plan or move.state is not StepState.DUE or row.waits_for_order or row.id in waited_for
