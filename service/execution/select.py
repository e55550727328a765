"""Pick what a worker leases next in one system: an interrupted batch again, or due steps that make a new one.

Decides the order (domain.execution.lanes has the rule) and whether it pays to wait for company. Locks nothing and
changes
nothing: the lease and the dispatcher ask the same question here, so a worker is only nudged for what it can lease.

The cost is that of the lines, not of who stands in them: deadlines end with a day, so the due steps of a system stand
in few groups of one (phase, lane, respond_by), which a loose scan of the index walks; of each only the first are read.
The order by time left and the condition "due by now" can't both be the order of one index; that is why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from connectors.base.interface import Operation
from service.audit.evidence_standing import leasable_phases
from service.domain.execution.lanes import (
    SINGLE_LANE,
    URGENT_LANE,
    Gathered,
    Head,
    in_turn,
    is_bulk,
    may_leave,
    most_of_one_bulk,
)
from service.domain.execution.results import first_phase
from service.domain.execution.states import Phase
from service.requests.imports.paused import lane_goes_on
from service.settings import Settings
from service.store.execute import execute
from service.system_rules import batch_limit, rules_of

OPERATIONS = {
    Phase.LOCATE: Operation.LOCATE,
    Phase.SUPPRESS: Operation.SUPPRESS,
    Phase.ERASE: Operation.ERASE,
    Phase.CONFIRM: Operation.CONFIRM,
}
_ORDER = tuple(Phase)


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
    """What may be leased now, best first. The first that can be locked is the one to take.

    `at_most` bounds a new batch, for a probe; a batch that was leased before keeps its people. Work of other phases
    than `phases` is left where it is.
    """
    heads = execute(connection, _HEADS, {"s": system, "phases": [each for each in _ORDER if each in phases]}).all()
    waits: set[Phase] = set()
    for head in in_turn([Head(*row) for row in heads], last_bulk):
        bulk = head.lane if is_bulk(head.lane) else None
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
            lanes = {row.lane for row in gathered}
            yield FreshPick(phase, tuple(row.id for row in gathered), bulk if lanes == {bulk} else None)


def is_leasable(connection: Connection, settings: Settings, system: str) -> bool:
    """True if a worker that asked now would get a batch."""
    phases = leasable_phases(connection, settings)
    return next(picks(connection, settings, system, last_bulk=None, phases=phases), None) is not None


def oldest_due_seconds(connection: Connection, system: str) -> float:
    """For how long the step that waits longest could have been worked on; 0 if none waits."""
    age: float = execute(connection, _OLDEST, {"s": system, "phases": list(_ORDER)}).scalar_one()
    return age


def _gather(connection: Connection, system: str, head: Head, limit: int) -> list[Row[Any]]:
    """Due steps of the head's phase by time left, at most half from one bulk submission while others wait."""
    given = {"s": system, "p": head.phase, "n": limit, "half": most_of_one_bulk(limit), "lane": head.lane}
    statement = _OF_ONE_LANE if limit == 1 else _OF_ALL_LANES
    return list(execute(connection, statement, given).all())


def _may_leave(
    connection: Connection, settings: Settings, system: str, phase: Phase, people: list[Row[Any]], limit: int
) -> bool:
    window = settings.seconds("max_batching_delay")
    if len(people) >= limit or not window:
        return True
    gathered = Gathered(
        people=len(people),
        limit=limit,
        oldest_due_at=min(row.due_at for row in people),
        respond_by=min(row.respond_by for row in people),
        is_marked=any(row.lane == URGENT_LANE for row in people),
        others_may_come=_is_first(settings, system, phase) or _others_may_come(connection, system, phase),
    )
    return may_leave(gathered, people[0].now, window=window, urgent=settings.seconds("urgent"))


def _is_first(settings: Settings, system: str, phase: Phase) -> bool:
    """True if people come to this phase straight from their submission."""
    rules = rules_of(settings, system)
    return phase is Phase.LOCATE or (not rules.searches_first and phase is first_phase(rules, found=False))


def _others_may_come(connection: Connection, system: str, phase: Phase) -> bool:
    """True if a request is being searched for, or a step of this system is in an earlier phase or due a little later.

    To a system's first phase anybody may come, since people may be submitted at any moment; later these are all.
    """
    earlier = list(_ORDER[: _ORDER.index(phase)])
    found: bool = execute(connection, _ON_THE_WAY, {"s": system, "p": phase, "earlier": earlier}).scalar_one()
    return found


def _statement(words: str) -> str:
    """The conditions of the two partial indexes of due steps, word by word: else they couldn't be used.

    The clock is a sub-select, since a volatile function isn't looked up in an index. Whether a line rests is asked once
    per group, not per step.
    """
    return (
        words.replace("{fresh}", "s.state IN ('due', 'accepted') AND s.batch_id IS NULL")
        .replace("{again}", "s.state IN ('due', 'accepted') AND s.batch_id IS NOT NULL")
        .replace("{by_now}", f"s.due_at <= (SELECT clock_timestamp()) AND {lane_goes_on('g.lane')}")
    )


# The groups (lane, respond_by) of one phase, one index probe each.
_GROUPS = (
    " SELECT f.phase, f.lane, f.respond_by FROM unnest(CAST(:phases AS text[])) AS p(phase) CROSS JOIN LATERAL ("
    "  SELECT s.phase, s.lane, s.respond_by FROM steps s WHERE s.system = :s AND s.phase = p.phase AND {fresh}"
    "  ORDER BY s.lane, s.respond_by LIMIT 1) AS f"
    " UNION ALL"
    " SELECT n.phase, n.lane, n.respond_by FROM fresh_group g CROSS JOIN LATERAL ("
    "  SELECT s.phase, s.lane, s.respond_by FROM steps s WHERE s.system = :s AND s.phase = g.phase AND {fresh}"
    "  AND (s.lane, s.respond_by) > (g.lane, g.respond_by) ORDER BY s.lane, s.respond_by LIMIT 1) AS n"
)
_AGAIN_GROUPS = (
    " (SELECT s.lane, s.respond_by FROM steps s WHERE s.system = :s AND {again}"
    "  ORDER BY s.lane, s.respond_by LIMIT 1)"
    " UNION ALL"
    " SELECT n.lane, n.respond_by FROM again_group g CROSS JOIN LATERAL ("
    "  SELECT s.lane, s.respond_by FROM steps s WHERE s.system = :s AND {again}"
    "  AND (s.lane, s.respond_by) > (g.lane, g.respond_by) ORDER BY s.lane, s.respond_by LIMIT 1) AS n"
)
_DUE_IN_GROUP = (
    "SELECT s.id, s.lane, s.respond_by, s.due_at FROM steps s WHERE s.system = :s AND s.phase = g.phase"
    " AND s.lane = g.lane AND s.respond_by = g.respond_by AND {fresh} AND {by_now} ORDER BY s.due_at LIMIT :n"
)
# A batch is free if nobody holds it. Not one of whose steps a dead process still has some: giving the lease back after
# this pass would hide them from the sweeper for ever, so the sweeper comes first.
_FREE = (
    "EXISTS (SELECT 1 FROM batches b WHERE b.id = s.batch_id AND b.ended_at IS NULL"
    " AND (b.lease_until IS NULL OR b.lease_until <= clock_timestamp()))"
    # OFFSET 0: as a join, planned while nobody was leased, it would read everybody who is.
    " AND NOT EXISTS (SELECT 1 FROM steps t WHERE t.batch_id = s.batch_id AND t.state = 'leased' OFFSET 0)"
)
_HEADS = _statement(
    f"WITH RECURSIVE fresh_group AS ({_GROUPS}), again_group AS ({_AGAIN_GROUPS})"  # noqa: S608 - our own texts
    " (SELECT DISTINCT ON (g.phase, g.lane) g.phase, g.lane, g.respond_by, d.due_at, CAST(NULL AS uuid) AS batch_id"
    f" FROM fresh_group g CROSS JOIN LATERAL ({_DUE_IN_GROUP.replace(':n', '1')}) AS d"
    " ORDER BY g.phase, g.lane, g.respond_by)"
    " UNION ALL"
    " (SELECT DISTINCT ON (g.lane) d.phase, g.lane, g.respond_by, d.due_at, d.batch_id"
    " FROM again_group g CROSS JOIN LATERAL (SELECT s.phase, s.due_at, s.batch_id FROM steps s WHERE s.system = :s"
    f" AND s.lane = g.lane AND s.respond_by = g.respond_by AND {{again}} AND {{by_now}} AND {_FREE}"
    " ORDER BY s.due_at LIMIT 1) AS d ORDER BY g.lane, g.respond_by)"
)
# Of each lane as many as there is room for, in the order of its groups; then the batch: within each half first.
_OF_ALL_LANES = _statement(
    f"WITH RECURSIVE fresh_group AS ({_GROUPS.replace('CAST(:phases AS text[])', 'ARRAY[CAST(:p AS text)]')})"  # noqa: S608
    " SELECT c.*, clock_timestamp() AS now FROM (SELECT d.*,"
    " row_number() OVER (PARTITION BY d.lane ORDER BY d.respond_by, d.due_at) AS place"
    " FROM (SELECT DISTINCT lane FROM fresh_group) AS l CROSS JOIN LATERAL (SELECT i.* FROM fresh_group g"
    f" CROSS JOIN LATERAL ({_DUE_IN_GROUP}) AS i WHERE g.lane = l.lane LIMIT :n) AS d) AS c"
    f" ORDER BY (c.lane NOT IN ('{URGENT_LANE}', '{SINGLE_LANE}') AND c.place > :half),"
    f" c.lane <> '{URGENT_LANE}', c.respond_by, c.due_at LIMIT :n"
)
_OF_ONE_LANE = _statement(
    f"WITH RECURSIVE fresh_group AS ({_GROUPS.replace('CAST(:phases AS text[])', 'ARRAY[CAST(:p AS text)]')})"  # noqa: S608
    " SELECT i.*, clock_timestamp() AS now FROM fresh_group g"
    f" CROSS JOIN LATERAL ({_DUE_IN_GROUP}) AS i WHERE g.lane = :lane LIMIT :n"
)
_OLDEST = _statement(
    f"WITH RECURSIVE fresh_group AS ({_GROUPS}), again_group AS ({_AGAIN_GROUPS})"  # noqa: S608 - our own texts
    " SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 FROM ("
    f" SELECT d.due_at FROM fresh_group g CROSS JOIN LATERAL ({_DUE_IN_GROUP.replace(':n', '1')}) AS d UNION ALL"
    " SELECT d.due_at FROM again_group g CROSS JOIN LATERAL (SELECT s.due_at FROM steps s WHERE s.system = :s"
    " AND s.lane = g.lane AND s.respond_by = g.respond_by AND {again} AND {by_now} ORDER BY s.due_at LIMIT 1) AS d"
    ") AS due"
)
_ON_THE_WAY = _statement(
    "SELECT EXISTS (SELECT 1 FROM requests WHERE duty = 'freeze')"
    " OR EXISTS (SELECT 1 FROM steps s WHERE s.system = :s AND s.phase = ANY(CAST(:earlier AS text[])) AND {fresh})"
    " OR EXISTS (SELECT 1 FROM batches b WHERE b.system = :s AND b.ended_at IS NULL"
    " AND b.lease_until > (SELECT clock_timestamp()) AND b.phase = ANY(CAST(:earlier AS text[])))"
    " OR EXISTS (SELECT 1 FROM steps s WHERE s.system = :s AND s.phase = :p AND {fresh}"
    " AND s.due_at > (SELECT clock_timestamp()))"
)
