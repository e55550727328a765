"""Note which of the vendor's jobs an accepted step waits for, so that a callback about one finds the step.

Only keyed hashes are stored: a vendor's name for a job may be made of anything. Decides nothing about the step. Runs
inside the transaction that records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from connectors.base.values import Answer
from service.domain.execution.states import StepState, Transition
from service.execution.lease import LeasedStep
from service.requests.steps.schedule import write_jobs
from service.store.encryption.keyed_hash import Pepper


def note_jobs(
    connection: Connection,
    pepper: Pepper,
    system: str,
    moves: Sequence[tuple[Row[Any], LeasedStep, Transition]],
    results: Mapping[str, object],
) -> None:
    """Write the jobs of the steps that wait for some now, and remove those of steps that don't any more."""
    awaited: dict[UUID, set[bytes]] = {}
    for row, step, move in moves:
        if move.state is not StepState.ACCEPTED and row.job_hashes is None:
            continue
        result = results[step.ref]
        jobs = result.jobs if isinstance(result, Answer) and move.state is StepState.ACCEPTED else frozenset()
        hashes = {pepper.of_job(system, job) for job in jobs}
        if hashes != {bytes(one) for one in row.job_hashes or ()}:
            awaited[row.id] = hashes
    write_jobs(connection, awaited)
