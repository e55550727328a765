"""Store what searches found, and make the frozen plan's next version of what it doesn't hold.

Decides whether a search adds to a frozen plan. Finds after the freeze stand under the same guards as the first ones:
hold, blast radius, approval anew. Runs inside the transaction that records the search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from connectors.base.values import Located
from service.settings import Settings
from service.storage.sealed_identifiers import seal_records
from service.storage.stores import Stores
from service.use_cases.freeze_plan import freeze_plans
from service.use_cases.lease_steps import LeasedStep
from service.use_cases.lock_request import lock_requests


def adds_to_plan(row: Row[Any], step: LeasedStep, found: Located) -> bool:
    """True if the plan that was frozen with this step, or before it was searched, doesn't hold all of `found`.

    More rows of the same records count as well: their number is what the blast radius is judged by.
    """
    if found.is_empty:
        return False
    is_new = not set(found.records) <= set(step.subject.records)
    return is_new or not row.located or sum(found.counts.values()) > sum(row.counts.values())


@dataclass(frozen=True)
class Finding:
    """What a search found for one locked step, and its request's key."""

    row: Row[Any]
    step: LeasedStep
    found: Located = field(repr=False)
    key: bytes = field(repr=False)


def store_findings(connection: Connection, stores: Stores, system: str, findings: Sequence[Finding]) -> None:
    """Record ids into their seal, keyed hashes beside them, counts in clear; one statement for all of them.

    A human's word that doubtful records are the person's holds for one search: what a later one finds was not seen.
    """
    if not findings:
        return
    stored = [_stored(stores, system, finding) for finding in findings]
    connection.execute(
        text(
            "UPDATE steps s SET located = true, records_accepted = false, records = n.records,"
            " record_hashes = n.hashes, counts = n.counts FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
            " AS n(id uuid, records bytea, hashes bytea[], counts jsonb) WHERE s.id = n.id"
        ),
        {"rows": json.dumps(stored)},
    )


def _stored(stores: Stores, system: str, finding: Finding) -> dict[str, Any]:
    records = tuple(dict.fromkeys([*finding.step.subject.records, *finding.found.records]))
    sealed = seal_records(finding.key, finding.row.id, records) if records else None
    return {
        "id": str(finding.row.id),
        "records": None if sealed is None else _hex(sealed),
        "hashes": [_hex(stores.pepper.of_record(system, record)) for record in records],
        "counts": dict(finding.found.counts),
    }


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


def amend_plans(connection: Connection, settings: Settings, steps: Sequence[Row[Any]], now: datetime) -> None:
    """Freeze the next version of the plan of each of these steps' requests, which the caller has locked."""
    if not steps:
        return
    ids: list[UUID] = [step.id for step in steps]
    connection.execute(text("UPDATE steps SET plan_version = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": ids})
    locked = lock_requests(connection, [step.request_id for step in steps])
    freeze_plans(connection, settings, list(locked.values()), now)
