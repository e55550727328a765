"""One person of a hundred whose erasure kills the process, every time: the others are erased all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.testing.sandbox import SandboxServer
from service.execution.expire_leases import sweep_leases
from service.execution.systems.sync_config import sync_systems
from tests.company import Company
from tests.faults.harness.deadly_worker import settings_of
from tests.faults.harness.eight_systems import installed, write_plugin
from tests.faults.harness.job_vendor import JobVendorSandbox
from tests.scenes import turn_until, use, write

PEOPLE = 100


@pytest.mark.long
@pytest.mark.fault
@pytest.mark.parametrize("company", [{"people": 160, "accounts": []}], indirect=True)
def test_a_process_that_dies_with_one_person_erases_the_ninety_nine(
    company: Company, tmp_path: Path, database_url: str, key_database_url: str
) -> None:
    vendor, plugin = JobVendorSandbox({}), write_plugin(tmp_path)
    people = company.world.ordinary[:PEOPLE]
    vendor.seed({"people": [{"id": p.customer_id, "email": p.emails[0], "name": "x"} for p in people]})
    config = company.settings.origin
    assert config is not None
    with installed(plugin), SandboxServer({"": vendor}) as server:
        use(company, settings_of(config, server.url()))
        sync_systems(company.stores, company.settings)
        for person in people:
            company.submit(person)
        due = "SELECT count(*) AS n FROM steps WHERE phase = 'erase' AND state = 'due'"
        turn_until(company, lambda: company.rows(due)[0].n == PEOPLE, only=lambda _: not company.rows(due)[0].n)

        deadly = people[57].customer_id
        given = [str(config), database_url, key_database_url, server.url(), str(plugin), deadly]
        deaths = 0
        while (
            code := subprocess.run([sys.executable, "-m", "tests.faults.harness.deadly_worker", *given]).returncode
        ) < 0:
            assert code == -signal.SIGKILL
            deaths += 1
            assert deaths <= 3 + 7 + 1
            write(company, "UPDATE batches SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")
            sweep_leases(company.stores)
            write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due' AND phase = 'erase'")

    assert code == 0
    assert deaths >= 3
    ended = company.rows("SELECT state, count(*) AS n FROM steps WHERE ended_at IS NOT NULL GROUP BY state")
    assert [(row.state, row.n) for row in ended] == [("erased_verified", PEOPLE - 1)]
    assert [row["id"] for row in vendor.records()] == [deadly]
    (left,) = company.rows("SELECT state, phase, reason, batch_id FROM steps WHERE ended_at IS NULL")
    assert left.phase == "erase"
    assert left.batch_id is not None
