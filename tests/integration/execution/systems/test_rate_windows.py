"""The windows that all processes share, on a real server: never more than the limit, told when, shut for everybody."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis

from connectors.base.pacing import RateLimit, VendorWord, guarded_seconds
from service.execution.systems.rate_limiter import RateGate
from service.execution.systems.rate_windows import SharedWindows, client_url

FEW = RateLimit(5, timedelta(seconds=30))
MANY = RateLimit(1000, timedelta(minutes=30))
QUICK = RateLimit(3, timedelta(seconds=0.2))


@pytest.fixture
def windows(broker_url: str) -> Iterator[SharedWindows]:
    made = SharedWindows(broker_url)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("broker", "client"),
    [
        ("redis+socket://:secret@/run/a/valkey.sock?virtual_host=3", "unix://:secret@/run/a/valkey.sock?db=3"),
        ("redis://:secret@broker.example.test/0", "redis://:secret@broker.example.test/0"),
    ],
)
def test_addresses(broker: str, client: str) -> None:
    assert client_url(broker) == client


def test_the_tightest_limit_counts_and_nothing_of_the_others_is_lost(windows: SharedWindows) -> None:
    assert windows.take("a", [MANY, FEW], 3).granted == 3
    assert windows.take("a", [MANY, FEW], 3).granted == 2
    refused = windows.take("a", [MANY, FEW], 3)
    assert refused.granted == 0
    assert refused.wait_seconds == pytest.approx(guarded_seconds(30), abs=5)
    assert windows.room("a", [MANY], 1, 0).granted == 995
    assert windows.take("b", [MANY, FEW], 9).granted == 5, "another system has its own"


def test_never_more_than_the_limit_whoever_asks(broker_url: str, windows: SharedWindows) -> None:
    several = [SharedWindows(broker_url) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        granted = pool.map(lambda n: several[n % 4].take("a", [FEW], 2).granted, range(40))
    assert sum(granted) == 5
    for each in several:
        each.close()


def test_what_was_taken_becomes_free_again_and_it_is_said_when(windows: SharedWindows) -> None:
    assert windows.take("a", [QUICK], 3).granted == 3
    wait = windows.take("a", [QUICK], 1).wait_seconds
    assert 0 < wait <= guarded_seconds(0.2)
    assert windows.room("a", [QUICK], 3, 0).granted == 0
    # By then it will be.
    assert windows.room("a", [QUICK], 3, 1.0).granted == 3
    time.sleep(wait)
    assert windows.take("a", [QUICK], 3).granted == 3


def test_room_says_when_there_will_be_enough(windows: SharedWindows) -> None:
    windows.take("a", [FEW], 2)
    room = windows.room("a", [FEW], 4, 0)
    assert room.granted == 3
    assert 0 < room.wait_seconds <= guarded_seconds(30)
    assert windows.room("a", [FEW], 3, 0).wait_seconds == 0
    # Nobody waits for more than there can be.
    assert 0 < windows.room("a", [FEW], 99, 0).wait_seconds <= guarded_seconds(30)


def test_shut_holds_for_everybody_and_is_never_shortened(broker_url: str, windows: SharedWindows) -> None:
    other = SharedWindows(broker_url)
    other.shut("a", 30)
    other.shut("a", 1)
    assert 25 < windows.take("a", [MANY], 1).wait_seconds <= 30
    assert 25 < windows.take("a", [], 1).wait_seconds <= 30
    assert windows.take("b", [], 1).granted == 1
    other.shut("c", 0.05)
    time.sleep(0.07)
    assert windows.take("c", [], 1).granted == 1
    other.close()


def test_the_vendors_count_corrects_ours(windows: SharedWindows) -> None:
    windows.hear("a", VendorWord(remaining=2, resets_in_seconds=30))
    windows.hear("a", VendorWord(remaining=7, resets_in_seconds=30))  # an older answer that came later
    assert windows.take("a", [MANY], 5).granted == 2
    assert 25 < windows.take("a", [MANY], 5).wait_seconds <= 30
    windows.hear("b", VendorWord(remaining=0, resets_in_seconds=0.05))
    time.sleep(0.07)
    assert windows.take("b", [MANY], 5).granted == 5


def test_refused_with_a_permit_the_window_is_taken_longer(windows: SharedWindows, redis_url: str) -> None:
    for _ in range(3):
        windows.take_care("a", [FEW])  # once per window, however many calls were refused in it
    windows.take("a", [FEW], 5)
    windows.take("b", [FEW], 5)
    longer = windows.take("a", [FEW], 1).wait_seconds - windows.take("b", [FEW], 1).wait_seconds
    assert longer == pytest.approx(0.02 * guarded_seconds(30), abs=0.3)
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(9):
            client.delete("expunge:rate:{a}:cared")
            windows.take_care("a", [FEW])
        assert client.get("expunge:rate:{a}:care") == b"100", "never by more than a tenth"


def test_an_emptied_server_forgets_without_harm(windows: SharedWindows, redis_url: str) -> None:
    windows.take("a", [FEW], 5)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert windows.take("a", [FEW], 5).granted == 5


def test_another_systems_nudge_is_seen(windows: SharedWindows, redis_url: str) -> None:
    def nudge(system: str) -> str:
        return json.dumps({"body": base64.b64encode(json.dumps([[system], {}, {}]).encode()).decode()})

    with redis.Redis.from_url(redis_url) as client:
        client.lpush("q", nudge("slow"))
        assert not windows.is_nudged(["q"], besides="slow")
        assert windows.is_nudged(["other", "q"], besides="quick")
        client.lpush("q", "not of our form")
        assert windows.is_nudged(["q"], besides="slow")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_a_server_each_process_takes_its_share_never_more() -> None:
    clock = Clock()
    gate = RateGate(None, lambda: 4, clock)
    limit = RateLimit(10, timedelta(seconds=10))
    assert [gate.take("a", [limit], 8).granted for _ in range(3)] == [1, 1, 0]
    clock.now += guarded_seconds(10)
    assert gate.take("a", [limit]).granted == 1
    # A share of less than one call is one call in a longer time.
    rare = RateLimit(2, timedelta(seconds=10))
    assert gate.take("b", [rare]).granted == 1
    assert gate.take("b", [rare]).wait_seconds == pytest.approx(2 * guarded_seconds(10))
    assert gate.room("b", [rare], 1, 0).granted == 0


def test_a_lost_server_costs_nothing_but_the_others_shares_and_its_return_is_noticed(broker_url: str) -> None:
    class Breakable(SharedWindows):
        broken = False

        def take(self, *args: object, **named: object) -> object:  # type: ignore[override]
            if self.broken:
                raise redis.ConnectionError
            return super().take(*args, **named)  # type: ignore[arg-type]

    clock, shared = Clock(), Breakable(broker_url)
    gate = RateGate(shared, lambda: 2, clock)
    assert gate.take("a", [FEW], 2).granted == 2
    shared.broken = True
    # 5 // 2 = 2 are this process' share, and it has had them.
    assert gate.take("a", [FEW], 2).granted == 0
    clock.now += guarded_seconds(30)
    assert gate.take("a", [FEW], 2).granted == 1
    shared.broken = False
    assert gate.take("a", [FEW], 3).granted == 1, "the server is asked again after a second"
    clock.now += 1.0
    assert gate.take("a", [FEW], 3).granted == 3
    gate.close()
