"""Cases about reading a suppression back.

Nothing is called suppressed through which the vendor contacts the person.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from connectors.base.errors import ConnectorError
from connectors.base.interface import Connector, Operation
from connectors.base.operations import SCOPE_NOT_OFFERED
from connectors.base.values import Answer, AnswerKind, Batch
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.cases_lease import MOST_ASKS
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson
from connectors.testing.conformance.vendor_fixture import Need
from connectors.testing.sandbox.faults import Fault, FaultKind

_GOOD_NEWS = (AnswerKind.SUPPRESSED, AnswerKind.ALREADY_ABSENT)
_OTHER_SCOPE = "purpose:nobody_offers_this"


class SuppressionReadCases:
    """Mixed into ConformanceSuite.

    Skipped for a connector that doesn't declare `Operation.READ_SUPPRESSION`.
    """

    def test_a_suppression_is_read_back(self, case: Case) -> None:
        """`not_suppressed` before, `suppressed` after.

        A person without records is absent, and a look changes nothing.
        """
        connector = _connect(case)
        ada, nobody = case.seed_with_neighbours(), case.person("nobody")
        before = case.rows()
        batch = case.batch(ada, nobody)
        assert _kinds(case, connector, batch) == [AnswerKind.NOT_SUPPRESSED, AnswerKind.ALREADY_ABSENT]
        assert case.rows() == before, "a look changed something"
        case.suppress(connector, batch, SuiteLease())
        assert _kinds(case, connector, batch) == [AnswerKind.SUPPRESSED, AnswerKind.ALREADY_ABSENT]
        assert not case.residue(nobody), "a person was created"

    def test_one_record_that_is_not_suppressed_is_told(self, case: Case) -> None:
        """A hold stops the suppression at the nth question, for every n.

        The read-back says `suppressed` exactly if no record is contacted any more.
        """
        for n in range(1, MOST_ASKS):
            case.reset()
            connector = _connect(case)
            ada = case.seed_with_neighbours()
            lease = _stopped_at(n)
            case.suppress(connector, case.batch(ada), lease)
            wanted = AnswerKind.NOT_SUPPRESSED if case.contacted(ada) else AnswerKind.SUPPRESSED
            assert _kinds(case, connector, case.batch(ada)) == [wanted], f"stopped at question {n}"
            if len(lease.asks) < n:
                return

    def test_somebody_subscribed_again_is_not_suppressed(self, case: Case) -> None:
        """The opt-out is undone at the vendor.

        The same connector sees it, because no earlier look is believed.
        """
        case.needs(Need.HTTP)
        connector = _connect(case)
        ada = case.seed_with_neighbours()
        subscribed = copy.deepcopy(case.sandbox.state)
        case.suppress(connector, case.batch(ada), SuiteLease())
        assert _kinds(case, connector, case.batch(ada)) == [AnswerKind.SUPPRESSED]
        case.sandbox.state = subscribed
        assert _kinds(case, connector, case.batch(ada)) == [AnswerKind.NOT_SUPPRESSED]

    def test_another_persons_opt_out_is_not_theirs(self, case: Case) -> None:
        """Look-alikes are suppressed, and the person is not.

        A person without a record is absent.
        """
        connector = _connect(case)
        ada, bob = case.person("ada"), case.person("bob")
        others = [*case.neighbours(ada), *case.neighbours(bob)]
        case.seed(*others, ada)
        case.suppress(connector, case.batch(*others), SuiteLease())
        wanted = [AnswerKind.NOT_SUPPRESSED, AnswerKind.ALREADY_ABSENT]
        assert _kinds(case, connector, case.batch(ada, bob)) == wanted

    def test_a_scope_that_is_not_offered_is_no_suppression(self, case: Case) -> None:
        """A person asks only for a scope that the vendor can't express.

        Nothing changes, and the answer says why.
        """
        connector = _connect(case)
        ada = case.seed_with_neighbours()
        batch = _with_scopes(case.batch(ada), _OTHER_SCOPE)
        before = case.rows()
        for answers in (
            case.suppress(connector, batch, SuiteLease()),
            case.read_suppression(connector, batch),
        ):
            answer = answers[ada.ref]
            assert isinstance(answer, Answer), f"answered {answer!r}"
            assert (answer.kind, answer.reason) == (AnswerKind.NOT_ADDRESSABLE, SCOPE_NOT_OFFERED)
        assert case.rows() == before, "a scope that nobody asked for was brought into force"

    def test_only_the_scopes_asked_for_are_brought_into_force(self, case: Case) -> None:
        """One scope after the other: those that were asked for are in force, and the others are as they were."""
        connector = _connect(case)
        scopes = sorted(connector.declaration.suppression_scopes)
        if len(scopes) == 1:
            pytest.skip(f"{case.vendor.name} offers one scope")
        for scope in scopes:
            case.reset()
            ada = case.seed_with_neighbours()
            case.suppress(connector, _with_scopes(case.batch(ada), scope), SuiteLease())
            case.assert_untouched(ada)
            read = {s: _kinds(case, connector, _with_scopes(case.batch(ada), s))[0] for s in scopes}
            in_force = [s for s, kind in read.items() if kind is AnswerKind.SUPPRESSED]
            assert in_force == [scope], f"asked for {scope}, in force are {in_force}"

    def test_a_blind_credential_reads_no_suppression(self, case: Case) -> None:
        """The credential is blind from the kth call of the look on, for every k: nothing is concluded."""
        case.needs(Need.HTTP, Need.BLIND)
        connector, ada = _connect(case), case.seed_with_neighbours()
        for k in range(_calls_of_a_look(case, connector, ada)):
            case.breaks(Fault(FaultKind.BLIND, times=None, skip=k))
            _not_good_news(case, connector, ada, f"a credential that was blind from call {k} on was believed")

    def test_a_foreign_404_reads_no_suppression(self, case: Case) -> None:
        """A proxy answers 404 to the kth call, for every k, while one record isn't suppressed yet."""
        case.needs(Need.HTTP)
        connector, ada = _connect(case), case.seed_with_neighbours()
        untouched = copy.deepcopy(case.sandbox.state)
        case.suppress(connector, case.batch(ada), _stopped_at(2))
        if not case.contacted(ada):
            case.sandbox.state = untouched
        for k in range(_calls_of_a_look(case, connector, ada)):
            case.breaks(Fault(FaultKind.STATUS, status=404, skip=k, body={"message": "no Route matched"}))
            _not_good_news(case, connector, ada, f"a foreign 404 at call {k} was believed")


def _connect(case: Case) -> Connector:
    connector = case.connect()
    if Operation.READ_SUPPRESSION not in connector.declaration.operations:
        pytest.skip(f"{case.vendor.name} declares no read_suppression")
    return connector


def _kinds(case: Case, connector: Connector, batch: Batch) -> list[AnswerKind]:
    answers = case.read_suppression(connector, batch)
    kinds = []
    for subject in batch.subjects:
        answer = answers[subject.ref]
        assert isinstance(answer, Answer), f"read_suppression answered {answer!r}"
        kinds.append(answer.kind)
    return kinds


def _with_scopes(batch: Batch, *scopes: str) -> Batch:
    return Batch(batch.key, tuple(replace(subject, scopes=scopes) for subject in batch.subjects))


def _stopped_at(n: int) -> SuiteLease:
    """Return a lease under which everybody is held from the nth question on."""
    lease = SuiteLease()

    def on_ask(ref: str) -> None:
        if len(lease.asks) >= n:
            lease.stopped.add(ref)

    lease.on_ask = on_ask
    return lease


def _calls_of_a_look(case: Case, connector: Connector, person: TestPerson) -> int:
    case.sandbox.journal.clear()
    case.read_suppression(connector, case.batch(person))
    return len(case.sandbox.journal)


def _not_good_news(case: Case, connector: Connector, person: TestPerson, message: str) -> None:
    answer: Answer | ConnectorError = case.read_suppression(connector, case.batch(person))[person.ref]
    assert case.contacted(person)
    assert not (isinstance(answer, Answer) and answer.kind in _GOOD_NEWS), message
