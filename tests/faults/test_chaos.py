"""Workers are killed and the broker is emptied in the middle of 100 requests x 4 systems: every pair ends without help.

The same run with a mechanism switched off must not end: otherwise this test would prove nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.company import Company
from tests.faults.installation import Installation, running

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
    leased = "SELECT 1 FROM steps WHERE state = 'leased'"
    for number in range(rounds):
        if not installation.wait_until(lambda: bool(installation.company.rows(leased)), 20):
            return number
        if number % 3 == 0:
            installation.kill_workers()
        elif number % 3 == 1:
            installation.empty_broker()
        else:
            installation.kill_a_pool_child()
    return rounds


def no_foreign_identifier(company: Company, erased: list[Any]) -> bool:
    """I5, as the vendors saw it: no bystander's identifier was ever sent."""
    own = {value for person in erased for value in person.residue_values}
    strangers = {v for p in company.world.people if p not in erased for v in p.residue_values} - own
    for stand_in in company.sandboxes.values():
        for call in stand_in.journal:
            said = f"{call['path']} {call['query']} {call['body']}"
            if any(value in said for value in strangers):
                return False
    return True


@pytest.mark.timeout(400)
@pytest.mark.parametrize("company", [{"people": 140, "accounts": ["support"]}], indirect=True)
def test_every_pair_ends_although_workers_die_and_the_broker_is_emptied(
    company: Company, urls: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    shorten_leases(company, 3.0)
    erased = list(company.world.ordinary[:100])
    assert len(erased) == 100
    requests = [company.submit(person) for person in erased]
    with running(company, urls, redis_url, tmp_path / "run") as installation:
        assert installation.wait_until(lambda: bool(company.rows("SELECT 1 FROM attempts LIMIT 1")), 60)
        assert harm(installation, 9) == 9
        assert installation.killed == 6
        ended = installation.wait_until(
            lambda: all(company.request(r).state == "fulfilled" for r in requests), seconds=240
        )
    states = company.rows("SELECT system, phase, state, reason, count(*) FROM steps GROUP BY 1, 2, 3, 4")
    assert ended, states
    pairs = company.rows("SELECT state FROM steps")
    assert len(pairs) == 100 * 4
    assert {row.state for row in pairs} <= GOOD
    assert company.deadlocks() == 0
    left = company.sandboxes["support"].residue({v for p in erased for v in p.residue_values})
    left += company.sandboxes["mailing"].residue({v for p in erased for v in p.residue_values})
    assert left == []
    assert no_foreign_identifier(company, erased)


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("mutant", ["no_sweeper", "endless_leases"])
def test_with_a_mechanism_switched_off_a_killed_workers_steps_are_lost(
    company: Company, urls: dict[str, str], redis_url: str, tmp_path: Path, mutant: str
) -> None:
    shorten_leases(company, 2.0)
    for stand_in in company.sandboxes.values():
        stand_in.latency_seconds = 0.3
    requests = [company.submit(person) for person in company.world.ordinary[:10]]
    with running(company, urls, redis_url, tmp_path / "run", mutant=mutant) as installation:
        leased = "SELECT 1 FROM steps WHERE state = 'leased' AND system <> 'warehouse'"
        assert installation.wait_until(lambda: bool(company.rows(leased)), 60)
        installation.kill_workers()
        ended = installation.wait_until(
            lambda: all(company.request(r).state == "fulfilled" for r in requests), seconds=10
        )
    assert not ended
    assert company.rows("SELECT 1 FROM steps WHERE state = 'leased'")
