"""Pick the next batch to lease in one system: an interrupted one again, or due steps for a new one.

Decides the order (domain.execution.fair_queues has the rule) and whether a batch waits for more steps. Locks and
changes nothing: the lease and the dispatcher ask the same question, so that a worker is woken only for a batch that it
can lease.

The cost grows with the number of groups, not of steps: deadlines end with a day, so the due steps of a system are few
groups of one (phase, fair_queue, respond_by). A loose scan of the index finds them, and reads the first of each. One
index can't have both the order by time left and the condition "due by now".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.interface import Operation
from connectors.base.transitions.results import first_phase
from connectors.base.transitions.states import Phase
from service.audit.evidence_standing import leasable_phases
from service.domain.execution.fair_queues import (
    URGENT_FAIR_QUEUE,
    Gathered,
    Head,
    in_turn,
    is_bulk,
    may_leave,
    most_of_one_bulk,
)
from service.settings import Settings
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.system_rules import batch_limit, rules_of

OPERATIONS = {
    Phase.LOCATE: Operation.LOCATE,
    Phase.SUPPRESS: Operation.SUPPRESS,
    Phase.ERASE: Operation.ERASE,
    Phase.CONFIRM: Operation.CONFIRM,
    Phase.OPT_OUT: Operation.SUPPRESS,
    Phase.READ_OPT_OUT: Operation.READ_SUPPRESSION,
}
_ORDER = tuple(Phase)


class GatheredStep(NamedTuple):
    """A due step for a new batch. `now`: the database's clock."""

    id: UUID
    fair_queue: UUID
    respond_by: datetime
    due_at: datetime
    now: datetime


@dataclass(frozen=True)
class FreshPick:
    """Steps that make a new batch. `bulk` is the bulk submission that has it to itself."""

    phase: Phase
    step_ids: tuple[UUID, ...]
    bulk: UUID | None


@dataclass(frozen=True)
class AgainPick:
    """A batch that was leased before and has due steps: the same people, the same key."""

    batch_id: UUID
    bulk: UUID | None


def picks(
    connection: Connection,
    settings: Settings,
    system: str,
    *,
    last_bulk: UUID | None,
    at_most: int | None = None,
    phases: Collection[Phase] = _ORDER,
) -> Iterator[FreshPick | AgainPick]:
    """Yield the batches that may be leased now, best first; the caller takes the first that it can lock.

    `at_most` bounds a new batch, for a probe; a batch that was leased before keeps its people. Work of other phases
    than `phases` is left out.
    """
    heads = execute(connection, _HEADS, {"s": system, "phases": [each for each in _ORDER if each in phases]}).all()
    waits: set[Phase] = set()
    for head in in_turn([Head(*row) for row in heads], last_bulk):
        bulk = head.fair_queue if is_bulk(head.fair_queue) else None
        if head.phase not in phases:
            continue
        if head.batch_id is not None:
            yield AgainPick(head.batch_id, bulk)
            continue
        phase = Phase(head.phase)
        limit = batch_limit(settings, system, OPERATIONS[phase])
        limit = limit if at_most is None else min(limit, at_most)
        if phase in waits:
            continue
        gathered = _gather(connection, system, head, limit)
        if limit > 1:
            # One question per phase: all its lines were asked at once.
            waits.add(phase)
        if gathered and _may_leave(connection, settings, system, phase, gathered, limit):
            fair_queues = {row.fair_queue for row in gathered}
            yield FreshPick(phase, tuple(row.id for row in gathered), bulk if fair_queues == {bulk} else None)


def is_leasable(connection: Connection, settings: Settings, system: str) -> bool:
    """True if a worker that asked now would get a batch."""
    phases = leasable_phases(connection, settings)
    return next(picks(connection, settings, system, last_bulk=None, phases=phases), None) is not None


def oldest_due_seconds(connection: Connection, system: str) -> float:
    """For how long the step that waits longest could have been worked on; 0 if none waits."""
    age: float = execute(connection, _OLDEST, {"s": system, "phases": list(_ORDER)}).scalar_one()
    return age


def _gather(connection: Connection, system: str, head: Head, limit: int) -> list[GatheredStep]:
    """Due steps of the head's phase by time left, at most half from one bulk submission while others wait."""
    given = {
        "s": system,
        "phases": [head.phase],
        "n": limit,
        "half": most_of_one_bulk(limit),
        "fair_queue": head.fair_queue,
    }
    statement = _OF_ONE_QUEUE if limit == 1 else _OF_ALL_QUEUES
    return [GatheredStep._make(row) for row in execute(connection, statement, given).all()]


def _may_leave(
    connection: Connection, settings: Settings, system: str, phase: Phase, people: list[GatheredStep], limit: int
) -> bool:
    window = settings.seconds("max_batching_delay")
    if len(people) >= limit or not window:
        return True
    gathered = Gathered(
        people=len(people),
        limit=limit,
        oldest_due_at=min(row.due_at for row in people),
        respond_by=min(row.respond_by for row in people),
        is_marked=any(row.fair_queue == URGENT_FAIR_QUEUE for row in people),
        others_may_come=_is_first(settings, system, phase) or _others_may_come(connection, system, phase),
    )
    return may_leave(gathered, people[0].now, window=window, urgent=settings.seconds("urgent"))


def _is_first(settings: Settings, system: str, phase: Phase) -> bool:
    """True if people come to this phase straight from their submission."""
    rules = rules_of(settings, system)
    return phase in (Phase.LOCATE, Phase.OPT_OUT) or (
        not rules.searches_first and phase is first_phase(rules, found=False)
    )


def _others_may_come(connection: Connection, system: str, phase: Phase) -> bool:
    """Return True if more steps of this system may soon be due in this phase.

    A request is being searched, a step is in an earlier phase, or one is due a little later. In a system's first phase
    more steps may come at any moment, because requests may be submitted.
    """
    earlier = list(_ORDER[: _ORDER.index(phase)])
    found: bool = execute(connection, _ON_THE_WAY, {"s": system, "p": phase, "earlier": earlier}).scalar_one()
    return found


# Loose scans of the partial indexes of due steps; their comments have the measured plans.
_HEADS = load_sql(__package__, "heads")
_OF_ALL_QUEUES = load_sql(__package__, "due_of_all_queues")
_OF_ONE_QUEUE = load_sql(__package__, "due_of_one_queue")
_OLDEST = load_sql(__package__, "oldest_due")
_ON_THE_WAY = load_sql(__package__, "on_the_way")
