"""Store the findings, plan amendments and vendor jobs of results, beside the step's state.

Decides whether a search adds to a frozen plan. Findings after the freeze have the same guards as the first ones: hold,
blast radius, approval. Of a vendor's jobs only keyed hashes are stored. Runs inside the transaction that records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import StepState, Transition
from connectors.base.values import Answer, Located
from service.execution.lease import LeasedStep
from service.execution.store import RecordedStep
from service.requests.identifiers import seal_records
from service.requests.planning.freeze import freeze_plans
from service.requests.records.store import lock_planned
from service.requests.steps.schedule import leave_plan, write_jobs
from service.requests.steps.store import Findings
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper
from service.store.stores import Stores


def adds_to_plan(row: RecordedStep, step: LeasedStep, found: Located) -> bool:
    """Return True if the frozen plan of this step doesn't hold all of `found`.

    More rows of the same records count as well, because the blast radius is judged by their number.
    """
    if found.is_empty:
        return False
    is_new = not set(found.records) <= set(step.subject.records)
    return is_new or not row.located or sum(found.counts.values()) > sum(row.counts.values())


def findings_of(stores: Stores, system: str, step: LeasedStep, found: Located, key: bytes) -> Findings:
    """Return the findings as the step's row keeps them.

    Record ids, with those of earlier searches, are sealed; counts are in clear.
    """
    records = tuple(dict.fromkeys([*step.subject.records, *found.records]))
    return Findings(
        records=seal_records(key, step.step_id, records) if records else None,
        hashes=tuple(stores.pepper.of_record(system, record) for record in records),
        counts=found.counts,
    )


def amend_plans(connection: Connection, settings: Settings, steps: Sequence[RecordedStep], now: datetime) -> None:
    """Freeze the next version of the plan of each of these steps' requests, which the caller has locked."""
    if not steps:
        return
    leave_plan(connection, [step.id for step in steps])
    locked = lock_planned(connection, [step.request_id for step in steps])
    freeze_plans(connection, settings, list(locked.values()), now)


def note_jobs(
    connection: Connection,
    pepper: Pepper,
    system: str,
    moves: Sequence[tuple[RecordedStep, LeasedStep, Transition]],
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
    if awaited:
        write_jobs(connection, awaited)
