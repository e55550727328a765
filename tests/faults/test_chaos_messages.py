"""Every message is delivered five times, in no order: nothing is done twice, and nothing is left out."""

from __future__ import annotations

import threading

import pytest

from tests.faults.conftest import Chaos
from tests.faults.harness.duplicates import deliver
from tests.faults.harness.launch import DUPLICATES

pytestmark = [pytest.mark.fault, pytest.mark.long]

_COPIES = 5


@pytest.mark.timeout(3000)
def test_every_pair_ends_rightly_although_messages_come_often_and_shuffled(chaos: Chaos) -> None:
    over = threading.Event()
    with chaos.running(workers=2, **{DUPLICATES: str(_COPIES)}) as installation:
        delivered: list[int] = []

        def postman() -> None:
            while not over.wait(0.5):
                delivered.append(deliver(installation.broker, installation.random))

        walking = threading.Thread(target=postman)
        walking.start()
        try:
            while chaos.waiting:
                chaos.feed(10)
                assert installation.wait_until(installation.in_the_middle, 90)
            chaos.assert_ended(installation)
        finally:
            over.set()
            walking.join()
    assert sum(delivered) >= _COPIES * 100
    assert max(delivered) >= 2 * _COPIES, "nothing was shuffled"
