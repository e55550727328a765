"""Cases about being stopped: a hold, a revocation or another worker takes a person or the batch away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connectors.base.errors import LeaseLost, TemporarilyUnavailable
from connectors.base.interface import Operation
from connectors.base.values import Answer
from connectors.testing.conformance.case import Case, Rows
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.vendor_fixture import Need

MOST_ASKS = 30
# Longer than the wait from which on `toolkit.concurrently` starts threads.
LATENCY_SECONDS = 0.01


class LeaseCases:
    """Mixed into ConformanceSuite."""

    def test_a_stopped_person_is_not_touched_and_others_go_on(self, case: Case) -> None:
        """`may_proceed` is False for one: no effect on them, the error `stopped`, everybody else as usual."""
        connector = case.connect()
        held, ada = case.person("held"), case.person("ada")
        case.seed(held, ada)
        batch = case.frozen(connector, held, ada)
        lease = SuiteLease()
        lease.stopped.add(held.ref)
        before = case.peoples_rows()
        answers = case.erase_to_the_end(connector, batch, lease)
        now = case.peoples_rows()
        changed = [key for key in case.own_rows[held.ref] if now.get(key) != before[key]]
        assert not changed, "a stopped person was touched"
        stopped = answers[held.ref]
        assert isinstance(stopped, TemporarilyUnavailable), f"a stopped person was answered {stopped!r}"
        assert stopped.code == "stopped"
        alone = case.frozen(connector, ada)
        if connector.declaration.batch_limit(Operation.ERASE) > 1:
            assert isinstance(answers[ada.ref], Answer), "one person's hold stopped another"
            case.finish(connector, alone, SuiteLease(lease.resume_token))
            case.assert_gone(ada)

    def test_a_hold_in_the_middle_stops_what_is_left(self, case: Case) -> None:
        """Held from the nth question on, for every n: from that moment not one of the person's rows changes."""
        for n in range(1, MOST_ASKS):
            case.reset()
            ada = case.seed_with_neighbours()
            connector = case.connect()
            batch = case.frozen(connector, ada)
            at_stop: list[Rows] = []
            lease = SuiteLease()
            lease.on_ask = stop_at(n, lease, at_stop, case)
            case.erase_to_the_end(connector, batch, lease)
            if not at_stop:
                assert n > 1, "may_proceed was never asked"
                return
            assert case.peoples_rows() == at_stop[0], f"after the hold at question {n} something was still changed"

    def test_asks_before_each_effect(self, case: Case) -> None:
        """Between two effects on one person stands a question: a hold that comes between them is heard."""
        case.needs(Need.HTTP)
        ada = case.seed_with_neighbours(related=3)
        connector = case.connect()
        batch = case.frozen(connector, ada)
        events: list[str] = []
        case.watch_changes(lambda ref: events.append("effect") if ref == ada.ref else None)
        lease = SuiteLease(on_ask=lambda _: events.append("ask"))
        case.finish(connector, batch, lease)
        assert "ask" in events, "may_proceed was never asked"
        unasked = [n for n, event in enumerate(events) if event == "effect" and (n == 0 or events[n - 1] != "ask")]
        assert not unasked, f"an effect without a question before it: {events}"

    @pytest.mark.parametrize("moment", ["ask", "save"])
    def test_a_lost_lease_stops_everything(self, case: Case, moment: str) -> None:
        """Another process works on the batch: LeaseLost passes through, and from then on nothing changes."""
        for n in range(1, MOST_ASKS):
            case.reset()
            ada, other = case.person("ada"), case.person("other")
            case.seed(ada, other)
            connector = case.connect()
            batch = case.frozen(connector, ada, other)
            lease = SuiteLease()
            if case.running.sandbox is not None:
                # With an immediate answer no second call would be under way when the lease is lost.
                case.sandbox.latency_seconds = LATENCY_SECONDS
            if moment == "ask":
                lease.lost_at_ask = n
            else:
                lease.lost_at_save = n
            at_loss: list[Rows] = []
            lease.on_loss = keeper(at_loss, case)
            try:
                case.erase_to_the_end(connector, batch, lease)
            except LeaseLost:
                assert len(at_loss) == 1, "after LeaseLost the lease was used again"
                assert case.peoples_rows() == at_loss[0], "after LeaseLost something was still changed"
                continue
            assert not at_loss, "LeaseLost was swallowed"
            assert n > 1 or moment == "save", "may_proceed was never asked"
            return


def stop_at(n: int, lease: SuiteLease, at_stop: list[Rows], case: Case) -> Callable[[str], None]:
    """From the nth question on the asked person is held; the first time the ground truth is kept."""

    def on_ask(ref: str) -> None:
        if len(lease.asks) >= n:
            lease.stopped.add(ref)
            if not at_stop:
                at_stop.append(case.peoples_rows())

    return on_ask


def keeper(kept: list[Rows], case: Case) -> Callable[[], None]:
    """Return a function that keeps the ground truth."""
    return lambda: kept.append(case.peoples_rows())
