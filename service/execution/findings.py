"""What a search found, as it is kept, and the frozen plan's next version where it didn't hold that.

Decides whether a search adds to a frozen plan. Finds after the freeze stand under the same guards as the first ones:
hold, blast radius, approval anew. Runs inside the transaction that records the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from connectors.base.values import Located
from service.execution.lease import LeasedStep
from service.requests.identifiers import seal_records
from service.requests.locking import lock_requests
from service.requests.planning.freeze import freeze_plans
from service.requests.steps.schedule import leave_plan
from service.requests.steps.store import Findings
from service.settings import Settings
from service.store.stores import Stores


def adds_to_plan(row: Row[Any], step: LeasedStep, found: Located) -> bool:
    """True if the plan that was frozen with this step, or before it was searched, doesn't hold all of `found`.

    More rows of the same records count as well: their number is what the blast radius is judged by.
    """
    if found.is_empty:
        return False
    is_new = not set(found.records) <= set(step.subject.records)
    return is_new or not row.located or sum(found.counts.values()) > sum(row.counts.values())


def findings_of(stores: Stores, system: str, step: LeasedStep, found: Located, key: bytes) -> Findings:
    """As the step's row keeps it: record ids in their seal, with those of earlier searches; counts in clear."""
    records = tuple(dict.fromkeys([*step.subject.records, *found.records]))
    return Findings(
        records=seal_records(key, step.step_id, records) if records else None,
        hashes=tuple(stores.pepper.of_record(system, record) for record in records),
        counts=found.counts,
    )


def amend_plans(connection: Connection, settings: Settings, steps: Sequence[Row[Any]], now: datetime) -> None:
    """Freeze the next version of the plan of each of these steps' requests, which the caller has locked."""
    if not steps:
        return
    leave_plan(connection, [step.id for step in steps])
    locked = lock_requests(connection, [step.request_id for step in steps])
    freeze_plans(connection, settings, list(locked.values()), now)
