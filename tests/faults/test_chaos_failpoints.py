"""A process dies before and after every commit, every published message and every pass over a system, once each."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.faults.conftest import Chaos
from tests.faults.harness.failpoints import hit_points
from tests.faults.harness.launch import FAILPOINTS

pytestmark = [pytest.mark.fault, pytest.mark.long]

# What must be among the points that were found: each room of the way, in each process that has it.
_EXPECTED = {
    "api": ("commit of submit_request.", "commit of key_store."),
    "beat": tuple(f"message expunge.{task}" for task in ("tick", "sweep", "sequence")),
    "control": (
        "message expunge.work_system",
        "message expunge.identify",
        "commit of due_work.due_systems",
        "commit of advance_requests.",
        "commit of sweep_leases.",
    ),
    "sequencer": ("commit of sequence_audit.",),
    "systems": (
        "commit of settle_identity.lease_identities",
        "commit of settle_identity.record_identities",
        "commit of lease_steps.",
        "commit of record_answers.",
        "commit of hold_lease.save_resume_token",
        *(
            f"{phase} in {kind}"
            for kind in ("warehouse", "zendesk", "jobs", "salesforce")
            for phase in ("erase", "confirm")
            if (phase, kind) != ("confirm", "warehouse")
        ),
        # Which needs no time, so that the look follows in the erasing lease.
        "look at once in warehouse",
    ),
}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("chaos", [{"data_key_retention_seconds": 2.0}], indirect=True)
def test_every_pair_ends_rightly_although_processes_die_at_every_point(chaos: Chaos) -> None:
    points = chaos.directory / "points"
    points.mkdir()
    with (
        closing(chaos.intake()) as intake,
        chaos.running(workers=1, api=True, **{FAILPOINTS: str(points)}) as installation,
    ):
        intake.wait_until_ready()
        while chaos.waiting:
            intake.accept(10)
            assert installation.wait_until(installation.in_the_middle, 90)
        chaos.assert_ended(installation)
        hit = hit_points(points)
        unsealed = "SELECT 1 FROM requests WHERE sealed_at IS NULL"
        sealed = installation.wait_until(lambda: not chaos.company.rows(unsealed), 90)

    assert sealed
    missing = [
        f"{role} {side} {name}"
        for role, names in _EXPECTED.items()
        for name in names
        for side in ("before", "after")
        if not any(found.startswith(f"{role} {side} {name}") for found in hit)
    ]
    assert missing == []
