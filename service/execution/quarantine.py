"""Isolate the data subjects that make a batch fail: halves, and small groups after worker crashes.

Decides the batch of each step; `service.domain.execution.bisect` decides whether to split. The parts remember the batch
that they come from, and their failing steps stay apart from the others. Runs inside the transaction that records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.errors import ConnectorError
from connectors.base.transitions.states import EFFECT_PHASES
from service.domain.execution.bisect import (
    REPEATED,
    SharedFailure,
    halves,
    may_split,
    select_group,
    who_shares_an_error,
)
from service.domain.execution.decide import LEASE_EXPIRED
from service.execution.batches import Family, family_of, open_parts
from service.execution.store import DueStep, RecordedStep, crashes_of

if TYPE_CHECKING:
    # The lease asks this module which suspects of a batch go together.
    from service.execution.lease import LeasedBatch


@dataclass(frozen=True)
class BatchFacts:
    """The facts of a batch's locked row: its root, and whether its connector stored a resume token."""

    root_id: UUID | None = None
    has_token: bool = False


def split_failed(
    connection: Connection,
    leased: LeasedBatch,
    facts: BatchFacts,
    rows: Mapping[UUID, RecordedStep],
    results: Mapping[str, object],
) -> dict[UUID, UUID]:
    """Of the locked steps those that are to be tried again in a new batch, and in which."""
    ids = {step.ref: step.step_id for step in leased.steps if step.step_id in rows}
    shared = who_shares_an_error({ref: results[ref] for ref in ids})
    if not shared:
        return {}
    family, root_people, answered = Family(0, 0, False)
    if facts.root_id is not None:
        family, root_people, answered = family_of(connection, facts.root_id)
    answered = answered or not all(isinstance(results[ref], ConnectorError) for ref in ids)
    placed: dict[UUID, UUID] = {}
    for error, refs in shared:
        people = sorted(ids[ref] for ref in refs)
        failure = SharedFailure(
            phase=leased.phase,
            error=error,
            people=len(people),
            consecutive_attempts=min(rows[step_id].consecutive_attempts for step_id in people),
            has_token=facts.has_token,
            family=family,
            root_people=root_people or len(ids),
            answered=answered,
        )
        if may_split(failure):
            root = facts.root_id or leased.id
            placed |= open_parts(connection, leased.system, leased.phase, root, halves(people))
    return placed


def isolate_suspects(connection: Connection, batch_id: UUID, phase: str, steps: Sequence[DueStep]) -> list[DueStep]:
    """Return the locked due steps of a batch that are leased together now.

    These are all steps, unless workers crashed with the batch.
    """
    if phase not in EFFECT_PHASES or not any(s.consecutive_attempts >= REPEATED for s in steps):
        return list(steps)
    deaths = crashes_of(connection, batch_id, LEASE_EXPIRED)
    suspects = sum(count >= REPEATED for count in deaths.values())
    if not suspects:
        return list(steps)
    going = select_group({s.id: deaths.get(s.id, 0) for s in steps}, suspects=suspects)
    return [s for s in steps if s.id in going]
