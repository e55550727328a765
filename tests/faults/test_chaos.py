"""Workers are killed and the broker is emptied in the middle of 50 requests x 4 systems: every pair ends without help.

A small run for every day; the whole suite is in the modules test_chaos_*, and its mutants in test_chaos_mutants.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.company import Company
from tests.faults.harness.installation import Installation, running
from tests.faults.harness.verdict import foreign_identifiers

pytestmark = pytest.mark.fault
GOOD = {"erased_verified", "absent"}


@pytest.fixture
def urls(database_url: str, key_database_url: str, broker_url: str) -> dict[str, str]:
    return {"database_url": database_url, "key_database_url": key_database_url, "broker_url": broker_url}


def shorten_leases(company: Company, seconds: float) -> None:
    """Write the configuration again with short leases, so that recovery is quick."""
    assert company.settings.origin is not None
    text = company.settings.origin.read_text()
    company.settings.origin.write_text(text.replace("[engine]\n", f"[engine]\nlease_seconds = {seconds}\n"))


def harm(installation: Installation, rounds: int) -> int:
    """Kill and empty in turn, each time in the middle of work. Returns how often something was harmed."""
    for number in range(rounds):
        if not installation.wait_until(installation.in_the_middle, 60):
            return number
        if number % 3 == 0:
            installation.kill_workers()
        elif number % 3 == 1:
            installation.empty_broker()
        else:
            installation.kill_a_pool_child()
    return rounds


@pytest.mark.slow(seconds=30)
@pytest.mark.timeout(400)
@pytest.mark.parametrize("company", [{"people": 75, "accounts": ["support"]}], indirect=True)
def test_every_pair_ends_although_workers_die_and_the_broker_is_emptied(
    company: Company, urls: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    shorten_leases(company, 3.0)
    erased = list(company.world.ordinary[:50])
    assert len(erased) == 50
    requests = [company.submit(person) for person in erased]
    broker = redis.Redis.from_url(redis_url)
    with running(company, urls, broker, tmp_path / "run") as installation:
        assert installation.wait_until(lambda: bool(company.rows("SELECT 1 FROM attempts LIMIT 1")), 60)
        assert harm(installation, 6) == 6
        assert installation.done == {"worker killed": 2, "broker emptied": 2, "pool child killed": 2}
        ended = installation.wait_until(
            lambda: all(company.request(r).state == "fulfilled" for r in requests), seconds=240
        )
    states = company.rows("SELECT system, phase, state, reason, count(*) FROM steps GROUP BY 1, 2, 3, 4")
    assert ended, states
    pairs = company.rows("SELECT state FROM steps")
    assert len(pairs) == 50 * 4
    assert {row.state for row in pairs} <= GOOD
    assert company.deadlocks() == 0
    left = company.sandboxes["support"].residue({v for p in erased for v in p.residue_values})
    left += company.sandboxes["mailing"].residue({v for p in erased for v in p.residue_values})
    assert left == []
    assert foreign_identifiers(company, erased) == []
