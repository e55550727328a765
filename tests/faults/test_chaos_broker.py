"""The broker dies, comes back empty, or takes nothing any more: requests are accepted all the while, none is lost."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from tests.faults.conftest import Chaos, scaled
from tests.faults.harness.installation import RECOVERY_SECONDS, Installation
from tests.faults.harness.intake import Intake

pytestmark = [pytest.mark.fault, pytest.mark.long]

_DEAD_SECONDS = 60.0


@pytest.mark.timeout(3000)
def test_nothing_is_lost_while_the_broker_is_dead_or_full(chaos: Chaos) -> None:
    with closing(chaos.intake()) as intake, chaos.running(workers=1, api=True) as installation:
        intake.wait_until_ready()
        share = len(chaos.waiting) // 4
        intake.accept(share)
        assert installation.wait_until(installation.in_the_middle, 90)

        _dead(chaos, installation, intake, share)
        _full(chaos, installation, intake, share)

        intake.accept(len(chaos.waiting))
        assert intake.refused == 0
        chaos.assert_ended(installation)


def _dead(chaos: Chaos, installation: Installation, intake: Intake, people: int) -> None:
    """Every request is accepted while there is no broker, and is worked on soon after it came back, empty."""
    assert chaos.servers is not None
    chaos.servers.kill_broker()
    back_at = time.monotonic() + max(_DEAD_SECONDS * scaled(10) / 10, 10.0)
    accepted = intake.accept(people)
    time.sleep(max(0.0, back_at - time.monotonic()))
    untouched = "SELECT count(*) FROM requests WHERE id = ANY(:ids) AND state = 'open'"
    assert chaos.company.rows(untouched, ids=accepted)[0].count > 0

    chaos.servers.start_broker()

    assert installation.wait_until(
        lambda: not chaos.company.rows(untouched, ids=accepted)[0].count, RECOVERY_SECONDS
    ), "the work did not go on"


def _full(chaos: Chaos, installation: Installation, intake: Intake, people: int) -> None:
    """A broker that refuses every message: noeviction, its memory used up."""
    assert chaos.servers is not None
    with chaos.servers.broker() as broker:
        broker.config_set("maxmemory", "1")
        before = broker.info("errorstats").get("errorstat_OOM", {"count": 0})["count"]
        accepted = intake.accept(people)
        assert installation.wait_until(
            lambda: broker.info("errorstats").get("errorstat_OOM", {"count": 0})["count"] > before + 3, 60
        ), "no message was refused"
        broker.config_set("maxmemory", "0")
    untouched = "SELECT count(*) FROM requests WHERE id = ANY(:ids) AND state = 'open'"
    assert installation.wait_until(
        lambda: not chaos.company.rows(untouched, ids=accepted)[0].count, RECOVERY_SECONDS
    ), "the work did not go on"
