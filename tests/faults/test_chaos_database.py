"""PostgreSQL crashes again and again under intake and work: what was accepted is there, and ends."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from tests.faults.conftest import Chaos, scaled

pytestmark = [pytest.mark.fault, pytest.mark.long]


@pytest.mark.timeout(3000)
def test_nothing_accepted_is_lost_by_a_crashing_database(chaos: Chaos) -> None:
    times, servers = scaled(20), chaos.servers
    assert servers is not None
    with closing(chaos.intake()) as intake, chaos.running(workers=1, api=True) as installation:
        intake.wait_until_ready()
        share = -(-len(chaos.waiting) // times)
        for _ in range(times):
            feeding = threading.Thread(target=intake.accept, args=(share,))
            feeding.start()
            assert installation.wait_until(installation.in_the_middle, 90)
            # The log, like the statistics, ends with the server that kept it.
            assert servers.deadlocks() == []
            servers.restart_postgres()
            installation.done["database crashed"] += 1
            feeding.join()
            kept = chaos.company.rows("SELECT count(*) FROM requests WHERE id = ANY(:ids)", ids=list(chaos.requests))
            assert kept[0].count == len(chaos.requests)

        assert installation.done["database crashed"] == times
        chaos.assert_taken_up(installation)
        chaos.assert_ended(installation)
