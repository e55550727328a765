"""Note which of the vendor's jobs an accepted step waits for, so that a callback about one finds the step.

Only keyed hashes are stored: a vendor's name for a job may be made of anything. Decides nothing about the step. Runs
inside the transaction that records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from connectors.base.values import Answer
from service.domain.execution.states import StepState, Transition
from service.execution.lease import LeasedStep
from service.store.encryption.keyed_hash import Pepper


def note_jobs(
    connection: Connection,
    pepper: Pepper,
    system: str,
    moves: Sequence[tuple[Row[Any], LeasedStep, Transition]],
    results: Mapping[str, object],
) -> None:
    """Write the jobs of the steps that wait for some now, and remove those of steps that don't any more."""
    ids: list[UUID] = []
    hashes: list[bytes | None] = []
    for row, step, move in moves:
        if move.state is not StepState.ACCEPTED and row.job_hashes is None:
            continue
        result = results[step.ref]
        awaited = result.jobs if isinstance(result, Answer) and move.state is StepState.ACCEPTED else frozenset()
        new = {pepper.of_job(system, job) for job in awaited}
        if new == {bytes(one) for one in row.job_hashes or ()}:
            continue
        stored: list[bytes | None] = [*sorted(new)] or [None]
        ids += [row.id] * len(stored)
        hashes += stored
    if not ids:
        return
    connection.execute(
        text(
            "UPDATE steps s SET job_hashes = n.hashes FROM (SELECT id, array_agg(hash) FILTER (WHERE hash IS NOT NULL)"
            " AS hashes FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[])) AS u(id, hash) GROUP BY id) AS n"
            " WHERE s.id = n.id"
        ),
        {"ids": ids, "hashes": hashes},
    )
