"""Cases about suppression: it reaches these people and no others, and the lease is asked before."""

from __future__ import annotations

import pytest

from connectors.base.errors import LeaseLost, TemporarilyUnavailable
from connectors.base.interface import Connector, Operation
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind
from connectors.testing.conformance.case import Case, Rows
from connectors.testing.conformance.cases_lease import LATENCY_SECONDS, MOST_ASKS, keeper, stop_at
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.vendor_fixture import Need


class SuppressionCases:
    """Mixed into ConformanceSuite. Skipped for a connector that doesn't declare `Operation.SUPPRESS`."""

    def test_suppresses_without_creating_anybody(self, case: Case) -> None:
        """Known people are suppressed; unknown ones aren't created in order to be."""
        connector = _connect(case)
        ada, nobody = case.seed_with_neighbours(), case.person("nobody")
        lines = case.run(ada, nobody, operation=Operation.SUPPRESS, connector=connector)
        case.assert_ending(lines[ada.ref], Outcome.SUPPRESSED, Outcome.ACCEPTED)
        case.assert_ending(lines[nobody.ref], Outcome.NOTHING_FOUND, Outcome.SUPPRESSED, Outcome.ACCEPTED)
        case.assert_untouched(ada)
        assert not case.residue(nobody), "a person was created"

    def test_a_suppressed_person_is_contacted_no_more(self, case: Case) -> None:
        """SUPPRESSED means that no record of the person is left through which the vendor would contact them.

        A second suppression says the same and changes nothing.
        """
        connector = _connect(case)
        ada = case.seed_with_neighbours()
        assert case.contacted(ada), "the fixture put in no record through which the vendor contacts the person"
        for _ in range(2):
            answer = case.suppress(connector, case.batch(ada), SuiteLease())[ada.ref]
            assert isinstance(answer, Answer), f"suppress answered {answer!r}"
            assert answer.kind is AnswerKind.SUPPRESSED
            assert not (left := case.contacted(ada)), f"called suppressed, but contacted through {left}"
            case.assert_untouched(ada)

    def test_a_stopped_person_is_not_suppressed_and_others_are(self, case: Case) -> None:
        """`may_proceed` is False for one: no effect on them, the error `stopped`, everybody else as usual."""
        connector = _connect(case)
        held, ada = case.person("held"), case.person("ada")
        case.seed(held, ada)
        lease = SuiteLease()
        lease.stopped.add(held.ref)
        answers = case.suppress(connector, case.batch(held, ada), lease)
        case.assert_untouched(ada)
        stopped, other = answers[held.ref], answers[ada.ref]
        assert isinstance(stopped, TemporarilyUnavailable), f"a stopped person was answered {stopped!r}"
        assert stopped.code == "stopped"
        assert isinstance(other, Answer), "one person's hold stopped another"
        assert not case.contacted(ada)

    def test_asks_before_each_suppression(self, case: Case) -> None:
        """Between two effects on one person stands a question: a hold that comes between them is heard."""
        case.needs(Need.HTTP)
        connector = _connect(case)
        ada = case.seed_with_neighbours()
        events: list[str] = []
        case.watch_changes(lambda ref: events.append("effect") if ref == ada.ref else None)
        case.suppress(connector, case.batch(ada), SuiteLease(on_ask=lambda _: events.append("ask")))
        assert "effect" in events, "nothing was suppressed"
        unasked = [n for n, event in enumerate(events) if event == "effect" and (n == 0 or events[n - 1] != "ask")]
        assert not unasked, f"an effect without a question before it: {events}"

    @pytest.mark.parametrize("event", ["hold", "lost_lease"])
    def test_nothing_is_suppressed_afterwards(self, case: Case, event: str) -> None:
        """A hold or a lost lease at the nth question, for every n: from then on nothing changes."""
        for n in range(1, MOST_ASKS):
            case.reset()
            # One call may be about several people: a hold that comes between the questions about it may miss one.
            people = [case.person(label) for label in (("ada",) if event == "hold" else ("ada", "other"))]
            case.seed(*people)
            connector = _connect(case)
            if case.running.sandbox is not None:
                # With an immediate answer no second call would be under way when the lease is lost.
                case.sandbox.latency_seconds = LATENCY_SECONDS
            kept: list[Rows] = []
            lease = SuiteLease()
            if event == "hold":
                lease.on_ask = stop_at(n, lease, kept, case)
            else:
                lease.lost_at_ask, lease.on_loss = n, keeper(kept, case)
            try:
                case.suppress(connector, case.batch(*people), lease)
            except LeaseLost:
                assert len(kept) == 1, "after LeaseLost the lease was used again"
            else:
                assert event == "hold" or not kept, "LeaseLost was swallowed"
            if not kept:
                assert n > 1, "may_proceed was never asked"
                return
            assert case.peoples_rows() == kept[0], f"after question {n} something was still changed"


def _connect(case: Case) -> Connector:
    connector = case.connect()
    if Operation.SUPPRESS not in connector.declaration.operations:
        pytest.skip(f"{case.vendor.name} declares no suppress")
    return connector
