"""Write how steps start when their plan is released.

Decides nothing: `service.requests.planning.release` asks the rule and writes the plan's entry, which lists these steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Boolean, Connection, DateTime, Integer, Text, Uuid, column, func, update

from connectors.base.transitions.states import Transition
from service.requests.steps.rows import StartingStep
from service.store.arrays import (
    BinaryArray,
    array_parameter,
    bool_array,
    int_array,
    nullable_array,
    timestamp_array,
    uuid_array,
)
from service.store.execute import execute
from service.store.tables.work import StepRow


@dataclass(frozen=True)
class Start:
    """How one step starts when its plan is released.

    `step`: its locked row, or the step that isn't written yet.
    """

    step: StartingStep
    plan_version: int
    to: Transition


def write_starts(connection: Connection, starts: Sequence[Start]) -> None:
    """Write how these locked steps start, in one statement.

    The entry about their plan lists them, so that only a step that parks has an entry of its own. The
    caller writes that entry.
    """
    if not starts:
        return
    execute(
        connection,
        _WRITE_STARTS,
        {
            "ids": uuid_array(start.step.id for start in starts),
            "versions": int_array(start.plan_version for start in starts),
            "phases": BinaryArray(start.to.phase for start in starts),
            "states": BinaryArray(start.to.state for start in starts),
            "reasons": nullable_array([start.to.reason for start in starts]),
            "dues": timestamp_array(start.to.due_at for start in starts),
            "waits": bool_array(bool(start.to.waits_for_order) for start in starts),
        },
    )


_STARTS = (
    func.unnest(
        array_parameter("ids", Uuid()),
        array_parameter("versions", Integer()),
        array_parameter("phases", Text()),
        array_parameter("states", Text()),
        array_parameter("reasons", Text()),
        array_parameter("dues", DateTime(timezone=True)),
        array_parameter("waits", Boolean()),
    )
    .table_valued(
        column("id", Uuid),
        column("plan_version", Integer),
        column("phase", Text),
        column("state", Text),
        column("reason", Text),
        column("due_at", DateTime(timezone=True)),
        column("waits", Boolean),
    )
    .render_derived(name="n")
)
_WRITE_STARTS = (
    update(StepRow)
    .values(
        {
            StepRow.phase: _STARTS.c.phase,
            StepRow.state: _STARTS.c.state,
            StepRow.reason: _STARTS.c.reason,
            StepRow.due_at: _STARTS.c.due_at,
            StepRow.waits_for_order: _STARTS.c.waits,
            StepRow.plan_version: func.coalesce(StepRow.plan_version, _STARTS.c.plan_version),
        }
    )
    .where(StepRow.id == _STARTS.c.id)
)
