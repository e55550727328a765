"""Several workers against a vendor that enforces its limit: it refuses nearly nothing, and most without the gate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from datetime import timedelta

import pytest

from connectors.base.destinations import NetworkRules
from connectors.base.errors import LeaseLost, TemporarilyUnavailable
from connectors.base.pacing import RateLimit
from connectors.base.toolkit.http import VendorClient
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.limits import EnforcedLimit
from service.execution.systems.rate_limiter import RateGate
from service.execution.systems.rate_windows import SharedWindows
from service.execution.systems.throttle import Throttle
from tests.unit.connectors.testing.tiny_sandbox import TinySandbox

HERE = NetworkRules(allow_private_hosts=frozenset({"127.0.0.1"}))
LIMIT = RateLimit(60, timedelta(seconds=2))
WORKERS = 4


@pytest.fixture
def served() -> Iterator[tuple[TinySandbox, str]]:
    sandbox = TinySandbox()
    with SandboxServer({"": sandbox}) as server:
        yield sandbox, server.url()


@pytest.fixture
def gates(broker_url: str) -> Iterator[Callable[[], RateGate]]:
    """A gate like one process has: nothing is shared with another but the server."""
    with ExitStack() as stack:

        def make() -> RateGate:
            gate = RateGate(SharedWindows(broker_url), lambda: WORKERS)
            stack.callback(gate.close)
            return gate

        yield make


def work(sandbox: TinySandbox, url: str, pacers: list[Throttle | None], *, answered: int, seconds: float) -> None:
    """Calls as the pacers let them through, one thread per pacer, until so many were answered or the time is over."""
    until = time.monotonic() + seconds

    def run(pacer: Throttle | None) -> None:
        with nullcontext() if pacer is None else pacer.run(100):
            call(pacer)

    def call(pacer: Throttle | None) -> None:
        client = VendorClient(url, headers={"x-key": "tiny"}, network=HERE, pacer=pacer)
        while answers(sandbox, 200) < answered and time.monotonic() < until:
            try:
                client.request("GET", "/things", expect=(200,))
            except TemporarilyUnavailable as error:
                # A refused step comes back later; these come back at once, as a whole backlog would.
                time.sleep(min(error.retry_after_seconds or 0.05, 0.05))
        client.close()

    threads = [threading.Thread(target=run, args=(pacer,)) for pacer in pacers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pacers(gates: Callable[[], RateGate]) -> list[Throttle | None]:
    """One per worker. Somebody else always waits for each of them: no wait in a call is long."""
    return [Throttle("tiny", [LIMIT], gates(), lambda: True) for _ in range(WORKERS)]


def answers(sandbox: TinySandbox, status: int) -> int:
    return sum(entry["status"] == status for entry in sandbox.journal)


def test_a_vendors_limit_is_kept_by_all_workers_together(
    served: tuple[TinySandbox, str], gates: Callable[[], RateGate]
) -> None:
    """The shares are measured by bench_rate; here a busy machine may delay a call more than a network would."""
    sandbox, url = served
    sandbox.enforced_limits = [EnforcedLimit(LIMIT.calls, 2.0)]
    work(sandbox, url, pacers(gates), answered=2 * LIMIT.calls, seconds=60)
    assert answers(sandbox, 200) >= 2 * LIMIT.calls
    assert answers(sandbox, 429) <= 0.05 * len(sandbox.journal)


def test_without_the_gate_the_vendor_refuses_most(served: tuple[TinySandbox, str]) -> None:
    sandbox, url = served
    sandbox.enforced_limits = [EnforcedLimit(LIMIT.calls, 2.0, says_when=False)]
    work(sandbox, url, [None] * WORKERS, answered=2 * LIMIT.calls, seconds=60)
    assert answers(sandbox, 429) > 0.1 * len(sandbox.journal)


def test_a_refusal_is_learnt_once_for_all(served: tuple[TinySandbox, str], gates: Callable[[], RateGate]) -> None:
    """Nothing declared, the vendor refuses: each worker's call under way may be refused too, and then nobody calls."""
    sandbox, url = served
    sandbox.enforced_limits = [EnforcedLimit(10, 30.0)]
    work(sandbox, url, pacers(gates), answered=11, seconds=1.5)
    assert answers(sandbox, 200) == 10
    assert 1 <= answers(sandbox, 429) <= WORKERS


def test_the_vendors_own_count_is_kept(served: tuple[TinySandbox, str], gates: Callable[[], RateGate]) -> None:
    """Somebody else uses the same account: what is left is less than we count."""
    sandbox, url = served
    sandbox.enforced_limits = [EnforcedLimit(LIMIT.calls, 3000.0, sliding=False, says_left=True)]
    for _ in range(18):
        sandbox.enforced_limits[0].accept()
    work(sandbox, url, pacers(gates), answered=LIMIT.calls, seconds=1.5)
    assert answers(sandbox, 200) == LIMIT.calls - 18
    # Calls that were under way when the first answer came weren't counted in it.
    assert answers(sandbox, 429) < WORKERS


class Lease:
    def __init__(self) -> None:
        self.stopped: frozenset[str] = frozenset()
        self.lost = False

    def still_held(self) -> frozenset[str]:
        if self.lost:
            raise LeaseLost
        return self.stopped


def taken_up(gate: RateGate, limit: RateLimit) -> None:
    assert gate.take("tiny", [limit], limit.calls).granted == limit.calls


def test_a_wait_in_a_call_is_short_while_another_system_waits(gates: Callable[[], RateGate]) -> None:
    gate, limit = gates(), RateLimit(1, timedelta(seconds=0.5))
    wanted = Throttle("tiny", [limit], gate, lambda: True)
    taken_up(gate, limit)
    with wanted.run(10), pytest.raises(TemporarilyUnavailable) as raised:
        wanted.before_call(changes=False)
    assert raised.value.code == "rate_gate"
    assert 0 < (raised.value.retry_after_seconds or 0) <= 0.6
    assert wanted.calls_per_person >= 4
    idle = Throttle("tiny", [limit], gate, lambda: False)
    with idle.run(10):
        idle.before_call(changes=False)
    # The smallest pass that there is must be able to end, whoever waits.
    lone = Throttle("tiny", [limit], gate, lambda: True)
    with lone.run(1):
        lone.before_call(changes=False)


@pytest.mark.parametrize("held", [True, False])
def test_whoever_waited_asks_again_before_acting(gates: Callable[[], RateGate], held: bool) -> None:
    gate, limit, lease = gates(), RateLimit(1, timedelta(seconds=0.3)), Lease()
    pacer = Throttle("tiny", [limit], gate)
    taken_up(gate, limit)

    def happen() -> None:
        lease.stopped, lease.lost = frozenset({"somebody"} if held else ()), not held

    timer = threading.Timer(0.1, happen)
    timer.start()
    with pacer.run(1, lease), pytest.raises(TemporarilyUnavailable if held else LeaseLost):
        pacer.before_call(changes=True)
    timer.join()


def test_a_silent_system_is_not_asked_for_everybody_in_the_batch(gates: Callable[[], RateGate]) -> None:
    pacer = Throttle("tiny", [], gates())
    silence = TemporarilyUnavailable("timeout")
    with pacer.run(100):
        for _ in range(3):
            pacer.before_call(changes=False)
            pacer.after_call({}, silence)
        with pytest.raises(TemporarilyUnavailable, match="system_down"):
            pacer.before_call(changes=False)
    with pacer.run(100):
        pacer.before_call(changes=False)


def test_what_only_the_connector_understood_shuts_the_system(gates: Callable[[], RateGate]) -> None:
    """A refusal inside a body (Marketo's 606) is known when the connector raises it."""
    told, other = Throttle("tiny", [], gates()), Throttle("tiny", [LIMIT], gates())
    with told.run(2) as judge:
        facts = judge({"a": TemporarilyUnavailable("rate_limited", retry_after_seconds=20)})
    assert facts.shut_seconds == 20
    with other.run(2), pytest.raises(TemporarilyUnavailable) as raised:
        other.before_call(changes=False)
    assert 15 < (raised.value.retry_after_seconds or 0) <= 20
