"""Ask that requests be looked at whose steps' moves may let something follow; for the others nobody needs to look.

Decides it from the move and from what never changes, so that two moves that are recorded at once can't each leave the
asking to the other. requests.planning.next_transitions has the conditions that this must not miss:

- a plan is frozen when searches end: every move of a step that isn't in a plan yet may let that follow;
- a request is answered and sealed when steps have ended or are accepted; a step that is due again is neither;
- later systems go on when an earlier step leaves the phases that they wait for, or when they begin to wait. Which steps
  stand behind another one is written when they are opened, and stays.

One thing may be left to another step: the asking after an end, if that step is due, since it has to end as well and its
end is recorded later than this was read. Its recorder may see this one leased yet, because this transaction isn't
committed; then it asks, and whoever looks sees a leased step and looks again after the time of a lease, until none is
leased (advance_requests). A step that stops being due in any other way is asked for by who moved it. So of five systems
one asks for a request, not five.
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
