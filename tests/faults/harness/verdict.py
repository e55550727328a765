"""Whether a run ended rightly: by the rows, by the vendors' own eyes, and by the audit log.

Decides what "rightly" is; knows nothing of which faults there were. Each check says what is wrong in codes and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connectors.testing.sandbox.sample_world import SamplePerson
from tests import audit_replay
from tests.company import Company
from tests.faults.harness.eight_systems import JOBS, SYSTEMS, residue
from tests.faults.harness.job_vendor import JobVendorSandbox


def wrongs(
    company: Company,
    requests: Mapping[UUID, SamplePerson],
    held: Mapping[str, set[str]],
    bystanders: Mapping[str, int],
) -> list[str]:
    """Everything that is wrong. `held`: who had anything in each system before; `bystanders`: what others had there."""
    erased = list(requests.values())
    others = bystanders_records(company, erased)
    return [
        *_pairs(company, requests, held),
        *residue(company, erased),
        *(
            f"{name}: bystanders had {bystanders[name]} records, now {n}"
            for name, n in others.items()
            if n != bystanders[name]
        ),
        *foreign_identifiers(company, erased),
        *attempts(company),
        *jobs(company),
        *([f"{n} deadlocks"] if (n := company.deadlocks()) else []),
        *audit_replay.differences(company.stores.engine),
    ]


def unfinished(company: Company) -> list[Any]:
    """Steps and requests that haven't ended, grouped; empty when all is done."""
    return company.rows(
        "SELECT system, phase, state, reason, count(*) FROM steps WHERE ended_at IS NULL GROUP BY 1, 2, 3, 4"
        " UNION ALL SELECT 'request', state, reason, next_action, count(*) FROM requests"
        " WHERE state <> 'fulfilled' GROUP BY 1, 2, 3, 4"
    )


def bystanders_records(company: Company, erased: Sequence[SamplePerson]) -> dict[str, int]:
    """How many records each stand-in holds of people whom nobody asked to erase."""
    gone = {p.ref for p in erased}
    values = {v for p in company.world.people if p.ref not in gone for v in p.residue_values}
    return {name: len(stand_in.residue(values)) for name, stand_in in company.sandboxes.items()}


def foreign_identifiers(company: Company, erased: Sequence[SamplePerson]) -> list[str]:
    """I5, as the vendors saw it: calls in which a bystander's identifier was sent."""
    own = {value for person in erased for value in person.residue_values}
    strangers = {v for p in company.world.people if p not in erased for v in p.residue_values} - own
    found = Counter(
        name
        for name, stand_in in company.sandboxes.items()
        for call in stand_in.journal
        if any(value in f"{call['path']} {call['query']} {call['body']}" for value in strangers)
    )
    return [f"{name}: {n} calls with a stranger's identifier" for name, n in found.items()]


def most_calls(company: Company, system: str, seconds: float) -> int:
    """The most calls that a vendor got in any window of that length."""
    times = [datetime.fromisoformat(call["at"]) for call in company.sandboxes[system].journal]
    length = timedelta(seconds=seconds)
    return max(sum(at - length < other <= at for other in times) for at in times)


def _pairs(company: Company, requests: Mapping[UUID, SamplePerson], held: Mapping[str, set[str]]) -> list[str]:
    """Each person and system is one pair, and it ended as it must: erased where there was something, else absent."""
    rows = company.rows("SELECT request_id, system, state, effect_possible FROM steps")
    said = {(row.request_id, row.system): row.state for row in rows}
    found = [f"{len(rows)} pairs"] if len(rows) != len(requests) * len(SYSTEMS) else []
    wrong: Counter[tuple[str, str, str]] = Counter()
    for request, person in requests.items():
        for system in SYSTEMS:
            must = "erased_verified" if person.ref in held[system] else "absent"
            state = said.get((request, system), "missing")
            if state != must:
                wrong[system, state, must] += 1
    found += [f"{system}: {n} are {state}, not {must}" for (system, state, must), n in wrong.items()]
    states = Counter(row.state for row in company.rows("SELECT state FROM requests"))
    return found + [f"{n} requests are {state}" for state, n in states.items() if state != "fulfilled"]


def attempts(company: Company) -> list[str]:
    """An attempt for each lease, and none that counted although somebody else had the batch when it answered."""
    checks = {
        "steps with leases that left no attempt": (
            "SELECT count(*) FROM steps s WHERE s.attempts <> (SELECT count(*) FROM attempts a WHERE a.step_id = s.id)"
        ),
        "answers that counted after another lease began": (
            "SELECT count(*) FROM attempts a JOIN attempts b ON b.batch_id = a.batch_id AND b.step_id = a.step_id"
            " AND b.fence > a.fence AND b.started_at < a.ended_at WHERE NOT a.late"
        ),
        # No foreign key watches over these (store.tables.work).
        "steps without their request, system or batch": (
            "SELECT count(*) FROM steps s WHERE NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = s.request_id)"
            " OR NOT EXISTS (SELECT 1 FROM systems y WHERE y.name = s.system) OR s.batch_id IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = s.batch_id)"
        ),
    }
    return [f"{n} {what}" for what, statement in checks.items() if (n := company.rows(statement)[0].count)]


def jobs(company: Company) -> list[str]:
    stand_in = company.sandboxes[JOBS]
    assert isinstance(stand_in, JobVendorSandbox)
    opened = Counter(stand_in.references())
    return [f"{n} jobs for one order" for n in opened.values() if n > 1]
